#include "apps/command.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apps/journal.hpp"
#include "apps/options.hpp"
#include "apps/text.hpp"
#include "apps/verbs.hpp"

namespace duolu::apps {
namespace {

/// How many letters are missing, inserted, replaced, or swapped with the next one.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> cost(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i)
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      const bool same = a[i - 1] == b[j - 1];
      cost[i][j] =
          std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (same ? 0U : 1U)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  return cost[a.size()][b.size()];
}

/// "; did you mean serve?", or empty if no known word is similar.
std::string suggestion(std::string_view word, const std::vector<std::string>& known) {
  constexpr std::size_t longest = 40;  // all known words are shorter
  if (word.size() > longest) return {};
  std::string_view nearest;
  std::size_t least = 1 + word.size() / 4;
  for (const std::string& each : known) {
    const bool begun = word.size() > 3 && each.starts_with(word);
    const std::size_t far = begun ? 1 : distance(word, each);
    if (far > least || (far == least && !nearest.empty())) continue;
    nearest = each;
    least = far;
  }
  return nearest.empty() ? std::string() : fmt::format("; did you mean {}?", nearest);
}

/// The unknown part of the command line: its first word with a suggestion, and all options in the
/// order given. Empty if all is known.
std::string unknown_words(const CLI::App& app) {
  const CLI::App* verb = app.get_subcommands().empty() ? &app : app.get_subcommands().front();
  std::vector<std::string> options;
  std::string first;
  for (const std::string& word : app.remaining(true)) {
    if (word.starts_with('-') && word.size() > 1)
      options.push_back(word.substr(0, word.find('=')));
    else if (first.empty())
      first = word;
  }
  if (!options.empty()) {
    std::vector<std::string> known;
    for (const CLI::Option* option : verb->get_options())
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    const std::string meant = options.size() == 1 ? suggestion(options.front(), known) : "";
    return fmt::format("unknown option{} {}{}", options.size() == 1 ? "" : "s",
                       escape(fmt::format("{}", fmt::join(options, ", "))), meant);
  }
  if (first.empty()) return {};
  if (verb != &app) return fmt::format("unexpected: {}", escape(first));
  std::vector<std::string> known{"help"};
  for (const CLI::App* each : app.get_subcommands({}))
    if (!each->get_group().empty()) known.push_back(each->get_name());  // the others are hidden
  return fmt::format("unknown verb {}{}", escape(first), suggestion(first, known));
}

}  // namespace

int run_command(int argc, char** argv) {
  CLI::App app("duolu: I/O multiplexing, to use, to measure and to look at", "duolu");
  app.set_version_flag("--version", "duolu " DUOLU_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 ok, 1 failed, 2 usage, 3 not available here, 4 cannot bind or connect,\n"
      "130/143/129 ended by Ctrl-C, SIGTERM or SIGHUP (serve: by a second one).");
  Action action;
  add_serve(app, action);
  add_talk(app, action);
  add_load(app, action);
  add_lab(app, action);
  add_doctor(app, action);
  try {
    std::vector<std::string> words(argv + 1, argv + argc);
    if (!words.empty() && words.front() == "help") {  // help VERB is VERB --help
      words.erase(words.begin());
      words.insert(words.begin() + (words.empty() ? 0 : 1), "--help");
    }
    std::reverse(words.begin(), words.end());  // as CLI11 expects them
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    const auto verbs = app.get_subcommands();
    std::string why = unknown_words(app);
    if (why.empty())
      why = verbs.empty() ? "a verb is missing: serve, talk, load, lab or doctor"
                          : escape(error.what());
    write_line(stderr, fmt::format("duolu: {}; see duolu {}--help", why,
                                   verbs.empty() ? "" : verbs.front()->get_name() + " "));
    return exit_usage;
  }
  try {
    // First: without descriptors, look-ups and opening standard output fail with obscure errors.
    const std::string verb = app.get_subcommands().front()->get_name();
    if (verb != "doctor") make_room(real_kernel(), real_host(), "duolu " + verb, 0);
    return action();
  } catch (const Failure& failure) {
    write_line(stderr, fmt::format("duolu: {}", failure.what()));
    return failure.code();
  }
}

}  // namespace duolu::apps
