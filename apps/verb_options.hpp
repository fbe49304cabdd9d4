// A verb of the command line and its options. CLI11 takes seconds to compile: only
// verb_options.cpp and command.cpp include it.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace duolu::apps {

class VerbOption {
 public:
  explicit VerbOption(CLI::Option& option) : option_(&option) {}

  VerbOption& required();
  /// What its value is called in the help: "ADDR".
  VerbOption& type_name(const char* name);
  VerbOption& one_of(std::vector<std::string> values);
  VerbOption& excludes(const VerbOption& other);
  /// `given` becomes true if it is given, perhaps with an empty value.
  VerbOption& tells(bool& given);

 private:
  CLI::Option* option_;
};

/// The variables for the values outlive the parsing; they keep their values if nothing is given.
class Verb {
 public:
  Verb(CLI::App& program, const char* name, const char* summary);

  /// `names` is as CLI11 takes it: "-q,--quiet"; without dashes it is an argument with a place.
  VerbOption option(const std::string& names, std::string& value, const std::string& help);
  /// May be given repeatedly, each time with one value.
  VerbOption option(const std::string& names, std::vector<std::string>& values,
                    const std::string& help);
  VerbOption flag(const std::string& names, bool& value, const std::string& help);
  /// The option that was added with the long name `name`.
  [[nodiscard]] VerbOption find(const char* name) const;
  /// No help shows it, and no error suggests it.
  void hide();
  /// Called when all is parsed and this is the verb.
  void on_chosen(std::function<void()> action);

 private:
  CLI::App* verb_;
};

}  // namespace duolu::apps
