// Public. Layer: loop. run(): main() for one task.
//
//   int main() { return run(serve("localhost:5000", echo)); }
//
//   RN1  Makes a loop (make_loop) and runs the task on it until it has ended.
//   RN2  SIGINT and SIGTERM cancel the task, which then ends in good order. A second signal ends
//        the process at once, as if there were no run(). A signal that was ignored before, as under
//        nohup(1) and in shells without job control, stays ignored.
//   RN3  The exit code is the int that the task returned, else 0. On an error it is 1, and one line
//        on standard error has the program's name and the error: the sentence that Loop::explain()
//        was given with it, or else its own message. An exception of the task is handled likewise.
//        If a signal cancelled the task and it ended with ECANCELED, nothing is printed, and the
//        exit code is 128 plus the signal's number, as in shells. A Task<> that a cancelled sleep()
//        ended (TA7) has ended with ECANCELED too. (Any other Task<>, or a Task<int>, does not
//        report that it was cancelled: its exit code is that of a normal end.)
//   RN4  What is reported while the loop runs (Loop::report()), such as an exception of a handler
//        of serve(), is written to standard error; or dropped, if that would block: a reader that
//        is slow does not hold the loop.
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

/// See the top of this file. `main`: a Task<>, Task<int>, Task<Result<>> or Task<Result<int>>; a
/// function that returns one, such as a lambda with captures, which is kept meanwhile: `run([&]()
/// -> Task<Result<>> { … })`; or anything else that can be awaited and returns the same. One
/// thread; in it no other loop runs meanwhile.
template <detail::Runnable Main>
[[nodiscard]] int run(Main main, const LoopOptions& options = {},
                      std::source_location where = std::source_location::current()) {
  using T = detail::Gives<Main>;
  if constexpr (detail::is_result<T>)
    static_assert(
        std::is_void_v<typename T::value_type> || std::is_same_v<typename T::value_type, int>,
        "run() returns an exit code: the task gives a Result<> or a Result<int>");
  else
    static_assert(std::is_void_v<T> || std::is_same_v<T, int>,
                  "run() returns an exit code: the task gives nothing or an int");
  return detail::run_main(detail::exit_code_of(detail::to_task(std::move(main))), options, where);
}

}  // namespace duolu
