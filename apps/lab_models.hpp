// The servers that `duolu lab` compares: each echoes with one way of waiting, as the thinnest
// honest program for it. They are those of bench/servers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "duolu/kernel/kernel.hpp"

namespace duolu::apps {

struct LabModel {
  enum class Kind : unsigned char {
    calls,  ///< Plain system calls; the library has nothing of the kind.
    duolu,  ///< On the library's public interface.
    raw,    ///< The same by hand, without the library: what the library costs.
  };

  const char* name;
  Kind kind;
  const char* summary;
  const char* engine;   ///< What has to work here, a name of engines(); "" if nothing special.
  const char* trigger;  ///< Of a poller, or the mode of a raw server.
  /// Serves the connections of the listening socket that it was given, until the process ends.
  void (*serve)(const LabModel& model);
  std::size_t most_connections = SIZE_MAX;
  bool threads = false;  ///< Has one for each connection.
};
[[nodiscard]] std::string_view to_string(LabModel::Kind kind) noexcept;

/// All of this build, in the order of the tables.
[[nodiscard]] const std::vector<LabModel>& lab_models();
/// Why a model does not work here; empty if it does.
[[nodiscard]] std::string why_not_here(Kernel& kernel, const LabModel& model);

/// The verb behind `duolu lab` that is such a server, with `listener` as its listening socket. Ends
/// with its parent. Never returns.
[[noreturn]] void serve_lab_model(const LabModel& model, int listener);

}  // namespace duolu::apps
