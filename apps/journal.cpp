#include "apps/journal.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace duolu::apps {

void Journal::say(Verbosity importance, std::string_view event, const std::string& text,
                  nlohmann::ordered_json fields) {
  if (!wants(importance)) return;
  if (!json_) {
    fmt::print(stderr, "{}\n", text);
    return;
  }
  nlohmann::ordered_json line = {{"schema", schema_}, {"event", event}};
  line.update(fields);
  // A reader that is gone (EPIPE) does not stop the server; bytes that are no UTF-8 are replaced.
  fmt::print(stdout, "{}\n",
             line.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace));
  std::fflush(stdout);
}

}  // namespace duolu::apps
