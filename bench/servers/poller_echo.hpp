// The echo server on a bare Poller; see poller_echo.cpp.
#pragma once

#include <string_view>

#include "duolu/kernel/kernel.hpp"

namespace bench {

/// Serves on 127.0.0.1 until the process ends.
[[noreturn]] void serve_echo(duolu::Kernel& kernel, int port, std::string_view backend,
                             std::string_view trigger);

}  // namespace bench
