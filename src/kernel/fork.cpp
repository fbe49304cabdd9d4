#include "duolu/kernel/fork.hpp"

#include <pthread.h>

namespace duolu {

std::atomic<std::uint32_t> detail::forks{0};

namespace {

void count_fork() { detail::forks.fetch_add(1, std::memory_order_relaxed); }

/// Without memory for the handler no child is recognized, as before a fork nobody needs to.
[[maybe_unused]] const int registered = ::pthread_atfork(nullptr, nullptr, count_fork);

}  // namespace
}  // namespace duolu
