// coroutine_echo PORT [BACKEND [lent|own]]: the buffer
#include "coroutine_echo.hpp"

#include <cstdlib>

#include "echo.hpp"

int main(int argc, char** argv) {
  if (argc < 2) bench::usage(argv[0], "PORT [BACKEND [lent|own]]");
  bench::prepare();
  bench::serve_coroutine_echo(duolu::real_kernel(), std::atoi(argv[1]), argc > 2 ? argv[2] : "auto",
                              argc > 3 ? argv[3] : "lent");
}
