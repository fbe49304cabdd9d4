// Public. Layer: base. Invariants, always on.
#pragma once

#include <source_location>

namespace duolu {

/// Prints `what` with file and line to standard error and aborts. Called by DUOLU_CHECK.
[[noreturn]] void check_failed(
    const char* what, std::source_location where = std::source_location::current()) noexcept;

}  // namespace duolu

/// Aborts with file and line when `condition` is false: a mistake of the program, in every build.
#define DUOLU_CHECK(condition) \
  (__builtin_expect(static_cast<bool>(condition), 1) ? void() : ::duolu::check_failed(#condition))
