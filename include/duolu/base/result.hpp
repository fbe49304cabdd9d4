// Public. Layer: base. Outcomes of the world, as values.
#pragma once

#include <expected>
#include <system_error>

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

/// A failed Result of any type, from an errno value (positive): `return fail(EBADF);`
[[nodiscard]] inline std::unexpected<std::error_code> fail(int error) noexcept {
  return std::unexpected(errno_code(error));
}

/// A failed Result that passes on another one's error: `return fail(opened.error());`
[[nodiscard]] inline std::unexpected<std::error_code> fail(std::error_code error) noexcept {
  return std::unexpected(error);
}

}  // namespace duolu
