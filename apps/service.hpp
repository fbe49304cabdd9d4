// What `duolu serve` does with the bytes of a connection, and nothing about how they come and go.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "duolu/kernel/host.hpp"

namespace duolu::apps {

/// An answer to one piece of input.
struct Reply {
  /// To be sent: all of the input, or what is in scratch, or nothing.
  std::span<const char> bytes{};
  bool last = false;  ///< Close the connection once they are sent.
};

/// One kind of service for any number of connections. Called from the server's thread only.
class Service {
 public:
  /// What a connection has to remember between two calls; most services need nothing.
  struct State {
    virtual ~State() = default;
  };

  virtual ~Service() = default;
  virtual std::unique_ptr<State> open() { return nullptr; }
  /// The answer to `input`, which may be changed in place and returned. `scratch` is the server's;
  /// it comes back with the capacity that it had, so that a message allocates nothing.
  virtual Reply answer(State* state, std::span<char> input, std::vector<char>& scratch) = 0;
  /// Whether it sends without being asked, as long as the peer takes it.
  virtual bool produces() const { return false; }
  /// The next piece to send unasked.
  virtual std::span<const char> produce(State*, std::vector<char>&) { return {}; }
  /// Whether input that has begun, such as the head of a request, is not complete: an idle timeout
  /// then counts from its beginning, so that sending it byte by byte does not postpone it.
  virtual bool incomplete(const State*) const { return false; }
  /// The most input one call is given. The reply must stay under 64 KiB whatever it
  /// holds.
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
