#include "apps/journal.hpp"

#include <string>
#include <utility>

namespace duolu::apps {

void write_line(std::FILE* stream, std::string line) {
  line += '\n';
  write_text(stream, line);
}

void write_text(std::FILE* stream, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fflush(stream);
}

void Journal::say(Verbosity importance, std::string_view event, const std::string& text,
                  const nlohmann::ordered_json& fields) {
  if (!wants(importance)) return;
  if (!json_) {
    return write_line(stderr, text);
  }
  nlohmann::ordered_json line = {{"schema", schema_}, {"event", event}};
  line.update(fields);
  // Bytes that are no UTF-8 are replaced.
  write_line(stdout, line.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace duolu::apps
