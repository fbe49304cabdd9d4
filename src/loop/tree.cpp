// The tree of what waits for what. Only the list of open scopes is kept for it: each chain stores
// what it waits for (WaitKind), each waiting task which task awaits it, and what a chain has begun
// is either what it waits for or a scope.

#include <array>
#include <cstdio>
#include <string_view>
#include <unordered_map>

#include "duolu/loop/loop.hpp"
#include "duolu/task/waiting.hpp"

namespace duolu {
namespace {

class Walk {
 public:
  Walk(const ReadyQueue& queue, Instant now, Duration time_unit)
      : now_(now), time_(queue.time), time_unit_(time_unit) {
    for (const detail::Group* each = queue.groups(); each != nullptr; each = each->next()) {
      groups_[&each->owner()].push_back(each);
      last_first_.push_back(each);
    }
  }

  void visit(const Chain& chain, int depth) {
    Waiting waiting;
    chain.describe(waiting);
    tell(chain, waiting, depth);
    std::vector<const Chain*> children;
    if (const auto opened = groups_.find(&chain); opened != groups_.end()) {
      for (auto each = opened->second.rbegin(); each != opened->second.rend(); ++each)
        (*each)->members(children);
      opened->second.clear();  // visited
    }
    children.insert(children.end(), waiting.children.begin(), waiting.children.end());
    for (const Chain* child : children) visit(*child, depth + 1);
  }

  /// Chains below no visited chain: those of tasks that were begun with Loop::start().
  void visit_the_rest() {
    for (auto each = last_first_.rbegin(); each != last_first_.rend(); ++each)
      if (!groups_[&(*each)->owner()].empty()) visit((*each)->owner(), 0);
  }

  std::vector<TaskReport> reports;

 private:
  void tell(const Chain& chain, const Waiting& waiting, int depth) {
    TaskReport& report = reports.emplace_back();
    report.depth = depth;
    report.origin = chain.origin();
    report.cancelled = chain.cancelled();
    if (waiting.task == nullptr) return;
    report.waits = waiting.what;
    if (waiting.until != never)
      report.left = waiting.until > now_ ? waiting.until - now_ : Duration::zero();
    const detail::TaskPromise* first = nullptr;
    for (const detail::TaskPromise* task = waiting.task; task != nullptr;
         task = task->awaited_by()) {
      report.stack.push_back(task->where());
      first = task;
    }
    if (const std::uint32_t noted = first->noted_time(); noted != 0 && noted <= time_)
      report.since = (time_ - noted) * time_unit_;
  }

  std::unordered_map<const Chain*, std::vector<const detail::Group*>> groups_;
  std::vector<const detail::Group*> last_first_;
  const Instant now_;
  const std::uint32_t time_;
  const Duration time_unit_;
};

std::string seconds(Duration duration) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.1f s",
                std::chrono::duration<double>(duration).count());
  return text.data();
}

/// "server.cpp:289", followed by the function if `with_function`.
std::string place(const std::source_location& where, bool with_function) {
  std::string_view file = where.file_name();
  file.remove_prefix(file.rfind('/') + 1);  // npos + 1 is 0
  std::string text = std::string(file) + ":" + std::to_string(where.line());
  if (!with_function) return text;
  // "duolu::Task<...> duolu::apps::Server::converse(...)": the last name before its parameters.
  std::string_view function = where.function_name();
  constexpr std::string_view unnamed = "(anonymous namespace)";  // clang's
  if (const std::size_t at = function.rfind(unnamed); at != std::string_view::npos)
    function.remove_prefix(at + unnamed.size());
  function = function.substr(0, function.find('('));
  const std::size_t before = function.find_last_of(" :&*");
  if (before != std::string_view::npos) function.remove_prefix(before + 1);
  if (!function.empty()) text += " (" + std::string(function) + ")";
  return text;
}

}  // namespace

std::vector<TaskReport> Loop::tasks() const {
  Walk walk(ready_, kernel().now(), time_unit);
  if (running_ != nullptr) walk.visit(*running_, 0);
  walk.visit_the_rest();
  return std::move(walk.reports);
}

std::string to_string(const TaskReport& report) {
  std::string text(static_cast<std::size_t>(report.depth) * 2, ' ');
  if (report.origin.name != nullptr)
    text += report.origin.name;
  else if (report.origin.where.line() != 0)
    text += place(report.origin.where, false);
  else
    text += "a task";
  text += report.waits.empty() ? ": runs, or is about to" : ": waits " + report.waits;
  if (report.since) text += ", for " + seconds(*report.since);
  if (report.left) text += ", " + seconds(*report.left) + " left";
  if (report.cancelled) text += ", cancelled";
  const char* separator = "; at ";
  for (const std::source_location& each : report.stack) {
    text += separator + place(each, true);
    separator = ", ";
  }
  return text;
}

}  // namespace duolu
