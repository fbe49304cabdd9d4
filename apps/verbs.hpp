// The verbs of the command line. Each adds its subcommand; the chosen one's action runs afterwards.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>

namespace CLI {
class App;
}

namespace duolu::apps {

/// The exit codes; also in the README and --help.
enum Exit : int {
  exit_ok = 0,
  exit_failed = 1,
  exit_usage = 2,
  exit_not_here = 3,       ///< This machine cannot do it; the reason was printed.
  exit_no_connection = 4,  ///< Cannot bind or connect.
};

/// Ends the action: has one line for standard error, which says what to do, and an exit code.
class Failure : public std::runtime_error {
 public:
  Failure(Exit code, const std::string& line) : std::runtime_error(line), code_(code) {}
  [[nodiscard]] Exit code() const noexcept { return code_; }

 private:
  Exit code_;
};

/// Set by the subcommand that was chosen; returns the exit code.
using Action = std::function<int()>;

void add_serve(CLI::App& app, Action& action);
void add_talk(CLI::App& app, Action& action);
void add_load(CLI::App& app, Action& action);
void add_lab(CLI::App& app, Action& action);
void add_doctor(CLI::App& app, Action& action);

}  // namespace duolu::apps
