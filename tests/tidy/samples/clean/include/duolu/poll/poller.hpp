#pragma once

#include <sys/socket.h>

#include "duolu/base/result.hpp"

namespace duolu {
struct Kernel;
}
