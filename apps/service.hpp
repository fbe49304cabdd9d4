// What `duolu serve` does with the bytes of a connection, apart from receiving and sending them.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "duolu/kernel/host.hpp"

namespace duolu::apps {

/// An answer to one piece of input.
struct Reply {
  /// The bytes to send: all of the input, those in scratch, or none.
  std::span<const char> bytes{};
  bool last = false;  ///< Close the connection once they are sent.
};

/// One kind of service for any number of connections. Called from the server's thread only.
class Service {
 public:
  /// The state of a connection between two calls; most services need none.
  struct State {
    virtual ~State() = default;
  };

  virtual ~Service() = default;
  virtual std::unique_ptr<State> open() { return nullptr; }
  /// The answer to `input`, which may be changed in place and returned. `scratch` is the server's
  /// and keeps its capacity between calls, so that a message allocates nothing.
  virtual Reply answer(State* state, std::span<char> input, std::vector<char>& scratch) = 0;
  /// Whether the answer is always the input, unchanged: then answer() need not be called.
  virtual bool echoes() const { return false; }
  /// Whether it sends without input, as long as the peer takes it.
  virtual bool produces() const { return false; }
  /// The next piece to send without input.
  virtual std::span<const char> produce(State*, std::vector<char>&) { return {}; }
  /// Whether a part of the input, such as the head of a request, has begun and is not complete. An
  /// idle timeout then counts from its beginning, so that single bytes do not postpone it.
  virtual bool incomplete(const State*) const { return false; }
  /// The most input of one call. The reply must stay under 64 KiB whatever the input is.
  virtual std::size_t read_size() const { return std::size_t{32} * 1024; }
};

/// A row of the table of services.
struct ServiceKind {
  std::string_view name;
  std::string_view summary;
  std::unique_ptr<Service> (*make)(Host& host);
};

/// echo, upper, discard, chargen, http-echo.
std::span<const ServiceKind> services();

}  // namespace duolu::apps
