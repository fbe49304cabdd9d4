// Public. Layer: kernel. What was found when something of the kernel was tried.
#pragma once

#include <string>
#include <system_error>

#include "duolu/base/standard.hpp"

namespace duolu {

/// Whether a backend works on this machine, and if not, why and what to do about it.
struct Probe {
  std::error_code error{};  ///< Zero when it works.
  std::string reason{};     ///< One line: what the probe found, whether it works or not.
  std::string advice{};     ///< What would make it work; empty when it does.

  [[nodiscard]] bool works() const noexcept { return !error; }
};

}  // namespace duolu
