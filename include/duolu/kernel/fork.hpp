// Public. Layer: kernel. Whether this process is a forked child of the one that made an object.
//
// A child of fork(2) has copies of all memory and shares every open file: what it asks of an epoll
// set or an eventfd that it has inherited happens in its parent, too. Objects that own such a file
// note fork_count() when they are made, and look at it before they use the file.
#pragma once

#include <atomic>
#include <cstdint>

#include "duolu/base/standard.hpp"

namespace duolu {

namespace detail {
/// Counted by a handler of pthread_atfork(3) in the child.
extern std::atomic<std::uint32_t> forks;
}  // namespace detail

/// How many forks led to this process: in a child another number than in its parent. One load, and
/// no system call. The child of vfork(2) or of a bare clone(2) is not counted: it may only exec.
[[nodiscard]] inline std::uint32_t fork_count() noexcept {
  return detail::forks.load(std::memory_order_relaxed);
}

}  // namespace duolu
