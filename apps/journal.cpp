#include "apps/journal.hpp"

#include <atomic>
#include <cerrno>
#include <string>
#include <utility>

#include "duolu/base/result.hpp"

namespace duolu::apps {

void write_line(std::FILE* stream, std::string line) {
  line += '\n';
  write_text(stream, line);
}

void write_text(std::FILE* stream, std::string_view text) {
  (stream == stdout ? output_log() : error_log()).write(text);
}

Journal::Journal(Verbosity verbosity, bool json, std::string schema)
    : log_(json ? &output_log() : &error_log()),
      verbosity_(verbosity),
      json_(json),
      schema_(std::move(schema)) {
  if (!json_) return;
  log_->report_dropped_as([name = schema_](std::uint64_t count) {
    const nlohmann::ordered_json line = {
        {"schema", name}, {"event", "dropped"}, {"entries", count}};
    return line.dump() + '\n';
  });
}

void Journal::say(Verbosity importance, std::string_view event, const std::string& text,
                  const nlohmann::ordered_json& fields) {
  if (!wants(importance)) return;
  if (!json_) return write_line(stderr, text);
  nlohmann::ordered_json line = {{"schema", schema_}, {"event", event}};
  line.update(fields);
  // Bytes that are not UTF-8 are replaced.
  write_line(stdout, line.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace));
  const int error = log_->error();
  const bool fails = error != 0 && error != EAGAIN && error != EPIPE;
  // The watchdog's thread writes events, too.
  if (!std::atomic_ref(told_error_).exchange(fails) && fails)
    write_line(stderr, "duolu: cannot write events to standard output: " +
                           errno_code(error).message() + "; trying again with each event");
}

std::string Journal::finish(Instant deadline) {
  if (!json_ || log_->finish(deadline)) return {};  // main() finishes the log for people
  const int error = log_->error();
  return "events were lost: standard output " +
         (error == EAGAIN ? "is not read" : "cannot be written: " + errno_code(error).message());
}

}  // namespace duolu::apps
