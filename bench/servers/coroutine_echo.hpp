// The echo server in coroutines; see coroutine_echo.cpp.
#pragma once

#include <string_view>

#include "duolu/kernel/kernel.hpp"

namespace bench {

/// Serves on 127.0.0.1 until the process ends. `buffer_kind` is "lent", or "own": in the coroutine.
[[noreturn]] void serve_coroutine_echo(duolu::Kernel& kernel, int port, std::string_view backend,
                                       std::string_view buffer_kind);

}  // namespace bench
