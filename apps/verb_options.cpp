#include "apps/verb_options.hpp"

#include <CLI/CLI.hpp>
#include <utility>

namespace duolu::apps {

VerbOption& VerbOption::required() {
  option_->required();
  return *this;
}

VerbOption& VerbOption::type_name(const char* name) {
  option_->type_name(name);
  return *this;
}

VerbOption& VerbOption::one_of(std::vector<std::string> values) {
  option_->check(CLI::IsMember(std::move(values)).description(""));
  return *this;
}

VerbOption& VerbOption::excludes(const VerbOption& other) {
  option_->excludes(other.option_);
  return *this;
}

VerbOption& VerbOption::tells(bool& given) {
  option_->each([&given](const std::string&) { given = true; });
  return *this;
}

Verb::Verb(CLI::App& program, const char* name, const char* summary)
    : verb_(program.add_subcommand(name, summary)) {}

VerbOption Verb::option(const std::string& names, std::string& value, const std::string& help) {
  return VerbOption(*verb_->add_option(names, value, help));
}

VerbOption Verb::option(const std::string& names, std::vector<std::string>& values,
                        const std::string& help) {
  return VerbOption(*verb_->add_option(names, values, help)->allow_extra_args(false));
}

VerbOption Verb::flag(const std::string& names, bool& value, const std::string& help) {
  return VerbOption(*verb_->add_flag(names, value, help));
}

VerbOption Verb::find(const char* name) const { return VerbOption(*verb_->get_option(name)); }

void Verb::hide() { verb_->group(""); }

void Verb::on_chosen(std::function<void()> action) { verb_->callback(std::move(action)); }

}  // namespace duolu::apps
