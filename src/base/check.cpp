#include "duolu/base/check.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace duolu {
namespace {

constinit std::atomic<bool> exit_was_called = false;

}  // namespace

bool exiting() noexcept { return exit_was_called.load(std::memory_order_relaxed); }

// atexit(3): handlers and destructors of static objects are called in the reverse of the order in
// which the handlers were registered and the constructors ended.
void notice_exit() noexcept {
  (void)std::atexit([] { exit_was_called.store(true, std::memory_order_relaxed); });
}

void check_failed(const char* what, std::source_location where) noexcept {
  // tidy: allow(console-output) The message before abort(): there is no caller to return it to.
  std::fprintf(stderr, "%s:%u: %s: check failed: %s\n", where.file_name(),
               static_cast<unsigned>(where.line()), where.function_name(), what);
  std::abort();
}

}  // namespace duolu
