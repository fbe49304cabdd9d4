// Public. Layer: base. Invariants, always on.
#pragma once

#include "duolu/base/standard.hpp"

#include <source_location>

namespace duolu {

/// Prints `what` with file and line to standard error and aborts. Called by DUOLU_CHECK.
[[noreturn]] void check_failed(
    const char* what, std::source_location where = std::source_location::current()) noexcept;

/// Whether exit(3) was called. Then static objects are destroyed while tasks still wait for them,
/// which nobody ends any more: destructors leave alone what they would abort for otherwise.
[[nodiscard]] bool exiting() noexcept;
/// Has exiting() be true before any static object is destroyed whose constructor has ended by now.
/// Takes a few bytes for good each time.
void notice_exit() noexcept;

}  // namespace duolu

/// Aborts with file and line when `condition` is false: a mistake of the program, in every build.
#define DUOLU_CHECK(condition) \
  (__builtin_expect(!(condition), 0) ? ::duolu::check_failed(#condition) : void())

/// The same in a destructor: what a process that exits leaves behind is no mistake.
#define DUOLU_CHECK_UNLESS_EXITING(condition)                                                   \
  (__builtin_expect(!(condition), 0) && !::duolu::exiting() ? ::duolu::check_failed(#condition) \
                                                            : void())
