#include "duolu/kernel/fork.hpp"

#include <pthread.h>

namespace duolu {

std::atomic<std::uint32_t> detail::forks{0};

namespace {

void count_fork() { detail::forks.fetch_add(1, std::memory_order_relaxed); }

/// If there is no memory for the handler, fork_count() stays 0 and no child is recognized.
[[maybe_unused]] const int registered = ::pthread_atfork(nullptr, nullptr, count_fork);

}  // namespace
}  // namespace duolu
