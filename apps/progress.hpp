// A line on standard error that shows the progress of something long, if that is a terminal.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace duolu::apps {

/// One at a time. The destructor removes the line.
class ProgressLine {
 public:
  ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine();

  /// Shows what `text(columns)` returns, which is shorter than that. Not called without a terminal.
  void show(const std::function<std::string(std::size_t columns)>& text);

 private:
  bool on_;
};

}  // namespace duolu::apps
