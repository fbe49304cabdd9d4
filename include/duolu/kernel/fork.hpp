// Public. Layer: kernel. Whether this process is a forked child of the one that made an object.
//
// A child of fork(2) has a copy of all memory, but shares every open file: a call on an inherited
// epoll set or eventfd takes effect in its parent, too. Objects that own such a file store
// fork_count() when they are made, and compare it before they use the file.
#pragma once

#include <atomic>
#include <cstdint>

#include "duolu/base/standard.hpp"

namespace duolu {

namespace detail {
/// Counted by a handler of pthread_atfork(3) in the child.
extern std::atomic<std::uint32_t> forks;
}  // namespace detail

/// The number of forks that led to this process: it differs between a child and its parent. One
/// load, no system call. Children of vfork(2) or a bare clone(2) are not counted: they only exec.
[[nodiscard]] inline std::uint32_t fork_count() noexcept {
  return detail::forks.load(std::memory_order_relaxed);
}

}  // namespace duolu
