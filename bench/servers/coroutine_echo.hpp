// The echo server in coroutines; see coroutine_echo.cpp.
#pragma once

#include <cstddef>
#include <string_view>

#include "duolu/kernel/kernel.hpp"

namespace bench {

/// Shows what a connection costs besides its buffer.
inline constexpr std::size_t small_buffer_size = 64;

/// Serves on 127.0.0.1 until the process ends. `buffer_kind` is "large", as the other servers have
/// it, or "small".
[[noreturn]] void serve_coroutine_echo(duolu::Kernel& kernel, int port, std::string_view backend,
                                       std::string_view buffer_kind);

}  // namespace bench
