#include "duolu/base/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace duolu {

void check_failed(const char* what, std::source_location where) noexcept {
  // tidy: allow(console-output) The last words before abort(); nobody is left to return them to.
  std::fprintf(stderr, "%s:%u: %s: check failed: %s\n", where.file_name(),
               static_cast<unsigned>(where.line()), where.function_name(), what);
  std::abort();
}

}  // namespace duolu
