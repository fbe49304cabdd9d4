// Public. Layer: base. Outcomes of operations, as values.
#pragma once

#include "duolu/base/standard.hpp"

#include <expected>
#include <source_location>
#include <system_error>

#include "duolu/base/check.hpp"

namespace duolu {

/// The outcome of an operation: a value, or an error. duolu itself never throws.
///
/// Errors that come from the operating system carry its errno in `std::generic_category()`, so they
/// compare with `std::errc` (`result.error() == std::errc::file_exists`) and `message()` explains
/// them. Mistakes of the program are not results: they abort (see check.hpp).
template <class T = void>
using Result = std::expected<T, std::error_code>;

/// The error code of an errno value (positive).
[[nodiscard]] inline std::error_code errno_code(int error) noexcept {
  return {error, std::generic_category()};
}

/// A failed Result with the error of another one: `return fail(opened.error());` An error_code
/// whose value is 0 means success to all code that tests it, so it aborts here. (A Result that has
/// no value is a failure even with such an error_code.)
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

/// Holds an object whose destructor is never called implicitly: one that static objects still use
/// in their destructors, or that must stay as it is in a forked child.
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
