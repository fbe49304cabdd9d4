// Arguments that several verbs have: backends, quantities, stop signals, descriptor limits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "apps/verb_options.hpp"
#include "duolu/engine/engines.hpp"
#include "duolu/kernel/host.hpp"
#include "duolu/kernel/kernel.hpp"
#include "duolu/net/address.hpp"

namespace duolu::apps {

/// The duration typed after `option`, or a Failure that says what would be valid.
Duration duration_argument(const char* option, const std::string& text);
/// The same for a count of at least one; `like` names valid ones.
std::uint64_t count_argument(const char* option, const std::string& text, const char* like);

/// The text typed after `option`, with its escapes (\n, \xHH) replaced.
std::string text_argument(const char* option, const std::string& text);
/// The addresses of the name that was typed, at least one.
std::vector<Address> target_argument(Kernel& kernel, const std::string& text);

/// What to do about an error of connecting, for behind its name. `option` sets `timeout`.
std::string connect_advice(std::error_code error, Duration timeout, const char* option);

/// Which names the help of --backend lists.
enum class Listed : std::uint8_t { engines, pollers };
/// Adds --backend NAME: "auto" or the name of an engine.
void add_backend_option(Verb& verb, std::string& name, Listed listed = Listed::engines);

/// The engine that --backend names, and why ("best that works here; ..."), or a Failure with the
/// reason if it does not work here.
EngineChoice engine_argument(Kernel& kernel, const std::string& name);

[[noreturn]] void cannot_make_backend(std::string_view name, std::error_code error);
/// What the row of that name made, or a Failure with the reason.
template <class T>
T made_backend(std::string_view name, Result<T> made) {
  if (!made) cannot_make_backend(name, made.error());
  return *std::move(made);
}

/// Makes sure that `count` connections can be open at a time in addition to the open descriptors,
/// raising the process's limit if necessary; else a Failure that begins with `what`, such as
/// "--max-connections 100000". So an impossible limit is refused at the start, not discovered under
/// load. Call it before anything is opened.
void make_room(Kernel& kernel, Host& host, const std::string& what, std::size_t count);

/// Writes to standard output; a Failure if that fails (as with a full disk).
void write_output(const std::string& text);

/// Whether a signal is ignored: if the parent process arranged that (nohup, background jobs of a
/// script), it stays ignored.
bool is_ignored(Kernel& kernel, int signal);

/// Handles SIGINT, SIGTERM and SIGHUP while it lives, except those that are ignored: the first
/// signal calls `stop(context)` in the handler, a second SIGINT or SIGTERM ends the process. One
/// object at a time.
class StopSignals {
 public:
  StopSignals(Kernel& kernel, void (*stop)(void*), void* context);
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  /// The first signal that arrived; 0 for none.
  [[nodiscard]] int received() const noexcept;
};

}  // namespace duolu::apps
