#include <fmt/core.h>
#include <CLI/CLI.hpp>
