// Public. Layer: loop. run(): main() for one task.
//
//   int main() { return run(serve("localhost:5000", echo)); }
//
//   RN1  Makes a loop (make_loop) and runs the task on it until it has ended.
//   RN2  SIGINT and SIGTERM cancel the task, which then ends in good order. The second one ends the
//        process at once, as if there were no run(). A signal that was ignored before, as nohup(1)
//        and shells without job control have it, stays ignored.
//   RN3  The exit code is what the task returned: the int, else 0. With an error it is 1, and the
//        error is one line on standard error, after the program's name: what Loop::explain() was
//        given with it, or the error's own message. So is what an exception says that the task
//        throws. Where a signal cancelled the task and it ended with ECANCELED: nothing is said,
//        and the exit code is 128 plus the signal's number, as shells count. (A Task<> or Task<int>
//        does not say that it was cancelled: its exit code is that of any end.)
#pragma once

#include <source_location>
#include <type_traits>
#include <utility>

#include "duolu/base/result.hpp"
#include "duolu/loop/loop.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

namespace detail {

int run_main(Task<Result<int>> task, const LoopOptions& options,
             std::source_location where) noexcept;

template <class T>
Task<Result<int>> exit_code_of(Task<T> task) {
  if constexpr (is_result<T>) {
    if constexpr (std::is_void_v<typename T::value_type>) {
      co_await try_(std::move(task));
      co_return 0;
    } else {
      co_return co_await try_(std::move(task));
    }
  } else if constexpr (std::is_void_v<T>) {
    co_await std::move(task);
    co_return 0;
  } else {
    co_return co_await std::move(task);
  }
}

}  // namespace detail

/// See the top of this file. `task`: a Task<>, Task<int>, Task<Result<>> or Task<Result<int>>. One
/// thread; in it no other loop runs meanwhile.
template <class T>
[[nodiscard]] int run(Task<T> task, const LoopOptions& options = {},
                      std::source_location where = std::source_location::current()) {
  if constexpr (detail::is_result<T>)
    static_assert(
        std::is_void_v<typename T::value_type> || std::is_same_v<typename T::value_type, int>,
        "run() returns an exit code: the task gives a Result<> or a Result<int>");
  else
    static_assert(std::is_void_v<T> || std::is_same_v<T, int>,
                  "run() returns an exit code: the task gives nothing or an int");
  return detail::run_main(detail::exit_code_of(std::move(task)), options, where);
}
/// The same of what gives such a task, such as a lambda with captures, which is kept meanwhile:
/// `run([&]() -> Task<Result<>> { … })`.
template <detail::MakesTask Make>
[[nodiscard]] int run(Make make, const LoopOptions& options = {},
                      std::source_location where = std::source_location::current()) {
  return run(task_of(std::move(make)), options, where);
}

}  // namespace duolu
