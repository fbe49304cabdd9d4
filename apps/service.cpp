#include "apps/service.hpp"

#include <type_traits>

#include "apps/http_echo.hpp"

namespace duolu::apps {
namespace {

class Echo final : public Service {
 public:
  Reply answer(State*, std::span<char> input, std::vector<char>&) override {
    return {.bytes = input};
  }
  bool echoes() const override { return true; }
};

/// ASCII letters only, whatever the locale: bytes of UTF-8 sequences pass unchanged.
class Upper final : public Service {
 public:
  Reply answer(State*, std::span<char> input, std::vector<char>&) override {
    for (char& c : input)
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    return {.bytes = input};
  }
};

/// RFC 863: takes everything, sends nothing.
class Discard final : public Service {
 public:
  Reply answer(State*, std::span<char>, std::vector<char>&) override { return {}; }
};

/// RFC 864: lines of 72 printable characters, each line shifted by one, until the peer closes.
/// Input is discarded.
class Chargen final : public Service {
 public:
  std::unique_ptr<State> open() override { return std::make_unique<Line>(); }
  Reply answer(State*, std::span<char>, std::vector<char>&) override { return {}; }
  bool produces() const override { return true; }
  std::span<const char> produce(State* state, std::vector<char>& scratch) override {
    constexpr int first = 32;
    constexpr int printable = 95;
    int& line = static_cast<Line*>(state)->number;
    scratch.clear();
    for (int lines = 0; lines < 100; ++lines) {
      for (int column = 0; column < 72; ++column)
        scratch.push_back(static_cast<char>(first + (line + column) % printable));
      scratch.push_back('\r');
      scratch.push_back('\n');
      line = (line + 1) % printable;
    }
    return scratch;
  }

 private:
  struct Line final : State {
    int number = 0;
  };
};

class HttpEchoService final : public Service {
 public:
  explicit HttpEchoService(Host& host) : date_(host) {}
  std::unique_ptr<State> open() override { return std::make_unique<Request>(date_); }
  Reply answer(State* state, std::span<char> input, std::vector<char>& scratch) override {
    scratch.clear();
    const bool more = static_cast<Request*>(state)->http.consume(input, scratch);
    return {.bytes = scratch, .last = !more};
  }
  bool incomplete(const State* state) const override {
    return static_cast<const Request*>(state)->http.in_head();
  }
  // The shortest request is 20 bytes and its reply 195: the replies to 4 KiB of them, after that to
  // a head of 16 KiB read before, stay under 64 KiB.
  std::size_t read_size() const override { return std::size_t{4} * 1024; }

 private:
  struct Request final : State {
    explicit Request(HttpDate& date) noexcept : http(date) {}
    HttpEcho http;
  };
  HttpDate date_;
};

template <class T>
std::unique_ptr<Service> make(Host& host) {
  if constexpr (std::is_constructible_v<T, Host&>)
    return std::make_unique<T>(host);
  else
    return std::make_unique<T>();
}

constexpr ServiceKind table[] = {
    {"echo", "sends back what it receives", make<Echo>},
    {"upper", "sends back what it receives in upper case", make<Upper>},
    {"discard", "receives and says nothing (RFC 863)", make<Discard>},
    {"chargen", "sends lines of characters without end (RFC 864)", make<Chargen>},
    {"http-echo",
     "answers HTTP/1.1 requests with their own text, while\n"
     "           they come: a client must read while it sends",
     make<HttpEchoService>},
};

}  // namespace

std::span<const ServiceKind> services() { return table; }

}  // namespace duolu::apps
