// Public. Layer: base. Outcomes of the world, as values.
#pragma once

#include "duolu/base/standard.hpp"

#include <expected>
#include <source_location>
#include <system_error>

#include "duolu/base/check.hpp"

namespace duolu {

/// What an operation gives: a value, or why the world refused it. duolu itself never throws.
///
/// Errors that come from the operating system carry its errno in `std::generic_category()`, so they
/// compare with `std::errc` (`result.error() == std::errc::file_exists`) and `message()` explains
/// them. Mistakes of the program (see check.hpp) are no results: they abort.
template <class T = void>
using Result = std::expected<T, std::error_code>;

/// The error code of an errno value (positive).
[[nodiscard]] inline std::error_code errno_code(int error) noexcept {
  return {error, std::generic_category()};
}

/// A failed Result that passes on another one's error: `return fail(opened.error());` An error_code
/// whose value is 0 means success to everybody who looks at it, so it aborts here; a Result is a
/// failure all the same, whatever the value, if it has no value.
[[nodiscard]] inline std::unexpected<std::error_code> fail(
    std::error_code error, std::source_location where = std::source_location::current()) noexcept {
  if (!error) [[unlikely]]
    check_failed("fail() needs an error, and 0 is none: was errno reset before it was read?",
                 where);
  return std::unexpected(error);
}

/// A failed Result of any type, from an errno value (positive): `return fail(EBADF);`
[[nodiscard]] inline std::unexpected<std::error_code> fail(
    int error, std::source_location where = std::source_location::current()) noexcept {
  return fail(errno_code(error), where);
}

namespace detail {

/// Something whose destructor nobody calls, unless they do it by hand: what static objects still
/// use in their destructors, or what must be left as it is in a forked child.
template <class T>
union Immortal {
  constexpr Immortal() noexcept : value() {}
  Immortal(const Immortal&) = delete;
  Immortal& operator=(const Immortal&) = delete;
  ~Immortal() {}  // NOLINT(modernize-use-equals-default): that would be deleted
  T value;
};

}  // namespace detail

}  // namespace duolu
