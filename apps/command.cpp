#include "apps/command.hpp"

#include <fmt/format.h>

#include <cstdio>

#include "apps/journal.hpp"
#include "apps/text.hpp"
#include "apps/verbs.hpp"

namespace duolu::apps {

int run_command(int argc, char** argv) {
  CLI::App app("duolu: I/O multiplexing, to use, to measure and to look at", "duolu");
  app.set_version_flag("--version", "duolu " DUOLU_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 ok, 1 failed, 2 usage, 3 not available here, 4 cannot bind or connect,\n"
      "130/143 ended by Ctrl-C or SIGTERM (serve: by a second one).");
  Action action;
  add_serve(app, action);
  add_talk(app, action);
  add_load(app, action);
  add_doctor(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    const auto verbs = app.get_subcommands();
    write_line(stderr, fmt::format("duolu: {}; see duolu {}--help", escape(error.what()),
                                   verbs.empty() ? "" : verbs.front()->get_name() + " "));
    return exit_usage;
  }
  try {
    return action();
  } catch (const Failure& failure) {
    write_line(stderr, fmt::format("duolu: {}", failure.what()));
    return failure.code();
  }
}

}  // namespace duolu::apps
