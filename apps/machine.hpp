// What a measurement depends on besides the programs: the machine, its system, and this build.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "duolu/kernel/host.hpp"
#include "duolu/kernel/kernel.hpp"

namespace duolu::apps {

struct MachineFact {
  const char* name;                  ///< For people and programs: "congestion control".
  std::optional<std::string> value;  ///< Nullopt: this system does not show it.
};

/// In a fixed order. All values are escaped for a terminal.
[[nodiscard]] std::vector<MachineFact> machine_facts(Kernel& kernel, Host& host);

}  // namespace duolu::apps
