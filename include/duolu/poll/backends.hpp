// Public. Layer: poll. The list of backends: what there is, what works here, and how to get one.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "duolu/base/result.hpp"
#include "duolu/poll/poller.hpp"

namespace duolu {

/// Whether a backend works on this machine, and if not, why and what to do about it.
struct Probe {
  std::error_code error{};  ///< Zero when it works.
  std::string reason{};     ///< One line: what was found, for both outcomes.
  std::string advice{};     ///< What would make it work; empty when it does.

  [[nodiscard]] bool works() const noexcept { return !error; }
};

/// One row of src/poll/backends.def.
struct Backend {
  std::string_view name;     ///< As given to make_poller() and `--backend`.
  std::string_view summary;  ///< One line on what it is good and bad at.
  /// Tries the backend's system calls on `kernel`; leaves nothing behind.
  Probe (*probe)(Kernel& kernel);
  /// A new poller, or why not.
  Result<std::unique_ptr<Poller>> (*make)(Kernel& kernel, PollerOptions options);
};

/// Every backend this build has, best first.
[[nodiscard]] std::span<const Backend> backends() noexcept;

/// The backend of that name, or nullptr.
[[nodiscard]] const Backend* find_backend(std::string_view name) noexcept;

/// The first backend that works, and the story of the choice for people: which one, and why not the
/// ones before it. `backend` is nullptr if none works.
struct BackendChoice {
  const Backend* backend = nullptr;
  std::string why;
};
[[nodiscard]] BackendChoice choose_backend(Kernel& kernel);

/// A poller by backend name; "auto" takes the first that works. `kernel` must outlive it.
/// Errors: EINVAL no such backend, or an impossible option; otherwise what the backend met.
[[nodiscard]] Result<std::unique_ptr<Poller>> make_poller(Kernel& kernel,
                                                          std::string_view backend = "auto",
                                                          PollerOptions options = {});

}  // namespace duolu
