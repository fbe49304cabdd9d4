// What the pipes benchmark asks of a library, and the pipes it watches.
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

  /// What a level-triggered handler does: takes one byte.
  void take_one(std::size_t index);
  /// What an edge-triggered handler does: takes what there is. The pipe's own count tells when it
  /// is empty, so that no trigger makes more system calls than another.
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
  /// Stops to watch each pipe and starts again, one after the other.
  virtual void rewatch() = 0;
  /// Looks once, without blocking, and has every byte found taken.
  virtual void look() = 0;
};

/// A way to do it, by name.
struct Way {
  std::string name;
  std::function<std::unique_ptr<Watching>(Pipes&)> make;
};

/// Every backend of ours with level and edge, each by remove + add and by pause + resume.
std::vector<Way> poller_ways();
std::unique_ptr<Watching> watch_by_epoll(Pipes& pipes);
std::unique_ptr<Watching> watch_by_libevent(Pipes& pipes);
std::unique_ptr<Watching> watch_by_libev(Pipes& pipes);

/// Says what failed and ends the program.
[[noreturn]] void die(const char* what);

}  // namespace pipes
