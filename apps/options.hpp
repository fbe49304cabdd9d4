// What several verbs take: backends, quantities, signals that stop, room for descriptors.
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "duolu/kernel/host.hpp"
#include "duolu/kernel/kernel.hpp"
#include "duolu/net/address.hpp"
#include "duolu/poll/poller.hpp"

namespace duolu::apps {

/// A duration that was typed after `option`; a Failure that says what would be right.
Duration duration_argument(const char* option, const std::string& text);
/// The same for a count of one at least; `like` names numbers that would be right.
std::uint64_t count_argument(const char* option, const std::string& text, const char* like);

/// What was typed after `option`, its escapes (\n, \xHH) replaced.
std::string text_argument(const char* option, const std::string& text);
/// Where to connect to, for what was typed: the addresses of its name, at least one.
std::vector<Address> target_argument(Kernel& kernel, const std::string& text);

/// Adds --backend NAME, one of the table and "auto".
void add_backend_option(CLI::App& verb, std::string& name);

struct ChosenPoller {
  std::unique_ptr<Poller> poller;
  std::string why;  ///< "best that works here; ..."
};

/// The poller for what --backend says; a Failure with the reason if it does not work here.
ChosenPoller choose_poller(Kernel& kernel, const std::string& name);

/// Sees that `count` connections can be open at a time beside what is open already, raising the
/// process's limit as far as it may; else a Failure that begins with `what`, such as
/// "--max-connections 100000". A limit that cannot be kept is refused at the start, not discovered
/// under load. To be called before anything is opened.
void make_room(Kernel& kernel, Host& host, const std::string& what, std::size_t count);

/// Writes to standard output; a Failure if that cannot be done (a disk that is full).
void write_output(const std::string& text);

/// Whether a signal is ignored: if whoever started us said so (nohup, the jobs that a script starts
/// in the background), it stays so.
bool is_ignored(Kernel& kernel, int signal);

/// SIGINT, SIGTERM and SIGHUP while it lives, but for those that are ignored: the first one calls
/// `stop(context)` in the signal handler, a second SIGINT or SIGTERM ends the process. One at a
/// time.
class StopSignals {
 public:
  StopSignals(Kernel& kernel, void (*stop)(void*), void* context);
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  /// The signal that came first; 0 for none.
  [[nodiscard]] int received() const noexcept;
};

}  // namespace duolu::apps
