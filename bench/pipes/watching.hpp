// What the pipes benchmark uses of a library, and the pipes it watches.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace pipes {

/// N pipes. A byte that arrives in one is read and, as long as writes are left, passed on to the
/// next pipe.
class Pipes {
 public:
  explicit Pipes(std::size_t count);
  Pipes(const Pipes&) = delete;
  Pipes& operator=(const Pipes&) = delete;
  ~Pipes();

  [[nodiscard]] std::size_t count() const { return ends_.size(); }
  [[nodiscard]] int reader(std::size_t index) const { return ends_[index].reader; }
  /// Puts a byte into each of `active` pipes, evenly spread, and allows `writes` more.
  void begin(std::size_t active, std::size_t writes);
  [[nodiscard]] bool under_way() const { return unread_ != 0; }

  /// For a level-triggered handler: reads one byte.
  void take_one(std::size_t index);
  /// For an edge-triggered handler: reads all there is. The pipe's own count shows when it is
  /// empty, so that both triggers make the same number of system calls.
  void take_all(std::size_t index) {
    while (ends_[index].held != 0) take_one(index);
  }

 private:
  struct Ends {
    int reader;
    int writer;
    std::size_t held;
  };
  void put(std::size_t index);

  std::vector<Ends> ends_;
  std::size_t unread_ = 0;
  std::size_t writes_left_ = 0;
};

/// A library that watches all pipes for readability.
class Watching {
 public:
  Watching() = default;
  Watching(const Watching&) = delete;
  Watching& operator=(const Watching&) = delete;
  virtual ~Watching() = default;
  /// Stops watching each pipe and starts again, one after the other.
  virtual void rewatch() = 0;
  /// Polls once, without blocking, and reads every byte found.
  virtual void look() = 0;
};

/// A library, or a way of using one, by name.
struct Way {
  std::string name;
  std::function<std::unique_ptr<Watching>(Pipes&)> make;
};

/// Every backend of ours with level and edge, each by remove + add and by pause + resume.
std::vector<Way> poller_ways();
std::unique_ptr<Watching> watch_by_epoll(Pipes& pipes);
std::unique_ptr<Watching> watch_by_libevent(Pipes& pipes);
std::unique_ptr<Watching> watch_by_libev(Pipes& pipes);

/// Prints what failed and ends the program.
[[noreturn]] void die(const char* what);

}  // namespace pipes
