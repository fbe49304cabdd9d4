// poller_echo PORT [BACKEND [TRIGGER]]
#include <cstdlib>

#include "echo.hpp"
#include "poller_echo.hpp"

int main(int argc, char** argv) {
  if (argc < 2) bench::usage(argv[0], "PORT [BACKEND [TRIGGER]]");
  bench::prepare();
  bench::serve_echo(duolu::real_kernel(), std::atoi(argv[1]), argc > 2 ? argv[2] : "auto",
                    argc > 3 ? argv[3] : "level");
}
