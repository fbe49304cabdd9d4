// Public. Layer: base. What an exception says.
#pragma once

#include <exception>
#include <string>

#include "duolu/base/standard.hpp"

namespace duolu {

/// what() of a std::exception; of anything else that was thrown, "something that is no
/// std::exception". `exception` must not be null.
[[nodiscard]] std::string message_of(const std::exception_ptr& exception);

}  // namespace duolu
