#include "apps/service.hpp"

#include "apps/http_echo.hpp"

namespace duolu::apps {
namespace {

class Echo final : public Service {
 public:
  Reply answer(State*, std::span<char> input, std::vector<char>&) override {
    return {.bytes = input};
  }
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

/// RFC 863: takes everything, says nothing.
class Discard final : public Service {
 public:
  Reply answer(State*, std::span<char>, std::vector<char>&) override { return {}; }
};

/// RFC 864: lines of 72 printable characters, each line shifted by one, until the peer leaves. What
/// the peer sends is thrown away.
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
  std::unique_ptr<State> open() override { return std::make_unique<Request>(); }
  Reply answer(State* state, std::span<char> input, std::vector<char>& scratch) override {
    scratch.clear();
    const bool more = static_cast<Request*>(state)->http.consume(input, scratch);
    return {.bytes = scratch, .last = !more};
  }
  // The shortest request is 20 bytes and its reply 158: 4 KiB of them, behind a head of 16 KiB that
  // was read before, stay under 64 KiB.
  std::size_t read_size() const override { return std::size_t{4} * 1024; }

 private:
  struct Request final : State {
    HttpEcho http;
  };
};

template <class T>
std::unique_ptr<Service> make() {
  return std::make_unique<T>();
}

constexpr ServiceKind table[] = {
    {"echo", "sends back what it receives", make<Echo>},
    {"upper", "sends back what it receives in upper case", make<Upper>},
    {"discard", "receives and says nothing (RFC 863)", make<Discard>},
    {"chargen", "sends lines of characters without end (RFC 864)", make<Chargen>},
    {"http-echo", "answers HTTP/1.1 requests with their own text", make<HttpEchoService>},
};

}  // namespace

std::span<const ServiceKind> services() { return table; }

}  // namespace duolu::apps
