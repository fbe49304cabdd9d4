// Public. Layer: poll. The list of backends: which ones exist, which work here, how to make one.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "duolu/base/result.hpp"
#include "duolu/kernel/probe.hpp"
#include "duolu/poll/poller.hpp"

namespace duolu {

/// How a backend differs from others. Code that depends on a difference tests a field of this,
/// never a backend's name. D1 ... are rows of docs/contracts.md, "Where backends differ".
struct BackendTraits {
  /// Edges come from the kernel (D1); other backends emulate them (Poller::emulates_edge()).
  bool native_edge = false;
  /// The kernel keeps the registrations: add() and remove() are system calls, and so is a change by
  /// modify(), before the next wait. The kernel decides what can be watched (D9, D12) and how much
  /// (D11), and distinguishes a file from a later one with the same number (D4).
  bool kernel_set = false;
  /// Every wait looks up the descriptor numbers: a closed one is noticed (D2), and a reused one
  /// reports the new file (D10).
  bool notices_close = false;
  /// But a wait does not look up the number of a registration again that was not ready in an
  /// earlier one: the kernel holds its file until it is ready, removed, or asked for something else
  /// (D2, D10).
  bool holds_files = false;
  bool has_fd = false;  ///< Poller::fd() returns a descriptor (D5).
  /// Only select(2)'s three conditions end a wait (D3); one more call finds out what they mean.
  bool three_sets = false;
  bool obeys_rlimit = false;       ///< A wait takes at most RLIMIT_NOFILE descriptors (D7).
  std::string_view register_call;  ///< The system call that add() makes.
  std::string_view wait_call;      ///< The system call that waits.
};

/// One row of src/poll/backends.def.
struct Backend {
  std::string_view name;     ///< As given to make_poller() and `--backend`.
  std::string_view summary;  ///< One line: its strength and its weakness.
  BackendTraits traits;
  /// Tries the backend's system calls on `kernel`; leaves nothing behind.
  Probe (*probe)(Kernel& kernel);
  /// A new poller, or why not.
  Result<std::unique_ptr<Poller>> (*make)(Kernel& kernel, PollerOptions options);
};

/// Every backend this build has, best first.
[[nodiscard]] std::span<const Backend> backends() noexcept;

/// The backend of that name, or nullptr.
[[nodiscard]] const Backend* find_backend(std::string_view name) noexcept;

/// The first backend that works, and the reason for people to read: which one, and why not the ones
/// before it. `backend` is nullptr if none works.
struct BackendChoice {
  const Backend* backend = nullptr;
  std::string why;
};
[[nodiscard]] BackendChoice choose_backend(Kernel& kernel);

/// A poller by backend name; "auto" takes the first that works. `kernel` must outlive it.
/// Errors: EINVAL no such backend, or an invalid option; otherwise the backend's own error.
[[nodiscard]] Result<std::unique_ptr<Poller>> make_poller(Kernel& kernel,
                                                          std::string_view backend = "auto",
                                                          PollerOptions options = {});

}  // namespace duolu
