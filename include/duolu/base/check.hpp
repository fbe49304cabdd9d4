// Public. Layer: base. Invariants, always on.
#pragma once

#include "duolu/base/standard.hpp"

#include <source_location>

namespace duolu {

/// Prints `what` with file and line to standard error and aborts. Called by DUOLU_CHECK.
[[noreturn]] void check_failed(
    const char* what, std::source_location where = std::source_location::current()) noexcept;

/// Whether exit(3) was called. Static objects are then destroyed while tasks still wait for them,
/// and nothing ends those tasks any more: destructors skip the checks that would abort otherwise.
[[nodiscard]] bool exiting() noexcept;
/// Makes exiting() true before the destruction of any static object whose constructor has ended by
/// now. Each call uses a few bytes that are never freed.
void notice_exit() noexcept;

}  // namespace duolu

/// Aborts with file and line when `condition` is false: a mistake of the program, in every build.
#define DUOLU_CHECK(condition) \
  (__builtin_expect(!(condition), 0) ? ::duolu::check_failed(#condition) : void())

/// The same in a destructor, where a false `condition` is no mistake if the process exits.
#define DUOLU_CHECK_UNLESS_EXITING(condition)                                                   \
  (__builtin_expect(!(condition), 0) && !::duolu::exiting() ? ::duolu::check_failed(#condition) \
                                                            : void())
