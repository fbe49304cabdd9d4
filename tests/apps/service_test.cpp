// What each service answers, and that no answer outgrows what the server may keep for a connection.
#include "apps/service.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "duolu/base/prng.hpp"

namespace duolu::apps {
namespace {

constexpr std::size_t limit = std::size_t{64} * 1024;

std::unique_ptr<Service> make_service(std::string_view name) {
  for (const ServiceKind& kind : services())
    if (kind.name == name) return kind.make(real_host());
  ADD_FAILURE() << "no service " << name;
  return nullptr;
}

struct Talk {
  explicit Talk(std::string_view name) : service(make_service(name)), state(service->open()) {}

  std::string say(std::string text) {
    last = service->answer(state.get(), text, scratch);
    return {last.bytes.begin(), last.bytes.end()};
  }

  std::unique_ptr<Service> service;
  std::unique_ptr<Service::State> state;
  std::vector<char> scratch;
  Reply last;
};

TEST(ServiceTest, every_service_is_listed_once) {
  std::vector<std::string_view> names;
  for (const ServiceKind& kind : services()) {
    names.push_back(kind.name);
    EXPECT_FALSE(kind.summary.empty());
    EXPECT_NE(kind.make(real_host()), nullptr);
  }
  EXPECT_EQ(names,
            (std::vector<std::string_view>{"echo", "upper", "discard", "chargen", "http-echo"}));
}

TEST(ServiceTest, only_chargen_sends_unasked) {
  for (const ServiceKind& kind : services())
    EXPECT_EQ(kind.make(real_host())->produces(), kind.name == "chargen") << kind.name;
}

TEST(ServiceTest, echo_gives_every_byte_back) {
  Talk talk("echo");
  std::string every(256, '\0');
  for (std::size_t i = 0; i < every.size(); ++i) every[i] = static_cast<char>(i);
  EXPECT_EQ(talk.say(every), every);
  EXPECT_FALSE(talk.last.last);
}

TEST(ServiceTest, upper_changes_ascii_letters_and_nothing_else) {
  Talk talk("upper");
  for (int byte = 0; byte < 256; ++byte) {
    const std::string one(1, static_cast<char>(byte));
    const bool small = byte >= 'a' && byte <= 'z';
    EXPECT_EQ(talk.say(one), small ? std::string(1, static_cast<char>(byte - 32)) : one) << byte;
  }
  EXPECT_EQ(talk.say("stra\xc3\x9f"
                     "e\n"),
            "STRA\xc3\x9f"
            "E\n");
}

TEST(ServiceTest, discard_says_nothing) {
  Talk talk("discard");
  EXPECT_EQ(talk.say("anything"), "");
  EXPECT_FALSE(talk.last.last);
}

TEST(ServiceTest, chargen_sends_the_lines_of_rfc_864) {
  Talk talk("chargen");
  EXPECT_EQ(talk.say("ignored"), "");
  std::string text;
  while (text.size() < std::size_t{74} * 200) {
    const auto piece = talk.service->produce(talk.state.get(), talk.scratch);
    ASSERT_LE(piece.size(), limit);
    text.append(piece.begin(), piece.end());
  }
  for (std::size_t line = 0; line < 200; ++line)
    for (std::size_t column = 0; column < 72; ++column)
      ASSERT_EQ(text[line * 74 + column], static_cast<char>(' ' + (line + column) % 95)) << line;
  EXPECT_EQ(text.substr(72, 3), "\r\n!");
}

TEST(ServiceTest, chargen_remembers_each_connection) {
  Talk first("chargen");
  const std::unique_ptr<Service::State> other = first.service->open();
  std::vector<char> scratch;
  const auto text = [&](Service::State* state) {
    const auto piece = first.service->produce(state, scratch);
    return std::string(piece.begin(), piece.end());
  };
  const std::string a = text(first.state.get());
  EXPECT_NE(text(first.state.get()), a);
  EXPECT_EQ(text(other.get()), a);
}

TEST(ServiceTest, http_echo_remembers_half_a_request) {
  Talk talk("http-echo");
  EXPECT_EQ(talk.say("GET / HTT"), "");
  EXPECT_TRUE(talk.say("P/1.1\r\nHost: a\r\n\r\n").ends_with("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_FALSE(talk.last.last);
  EXPECT_TRUE(talk.say("rubbish\r\n\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(talk.last.last);
}

/// The longest answers that can be had of one read, whatever came before.
TEST(ServiceTest, no_answer_is_longer_than_what_may_be_kept) {
  const std::string shortest = "A / HTTP/1.1\nHost:\n\n";
  std::string many;
  while (many.size() < limit) many += shortest;
  for (const ServiceKind& kind : services()) {
    const std::size_t size = kind.make(real_host())->read_size();
    ASSERT_LE(size, limit);
    for (std::size_t prefix :
         {std::size_t{0}, std::size_t{1}, std::size_t{16'360}, std::size_t{16'380}}) {
      Talk talk(kind.name);
      // A head that fills what is kept of one, read before, and answered with everything else.
      std::string head = "A / HTTP/1.1\nHost:\nX:";
      head.resize(std::max(prefix, head.size()), 'a');
      if (prefix != 0)
        for (std::size_t at = 0; at < head.size(); at += size) talk.say(head.substr(at, size));
      EXPECT_LE(talk.say((prefix != 0 ? "\n\n" : "") + many.substr(0, size - 2)).size(), limit)
          << kind.name << " after " << prefix;
    }
  }
}

TEST(ServiceTest, no_answer_to_rubbish_is_longer_either) {
  Prng random(5);
  const std::string_view parts[] = {
      "A / HTTP/1.1\nHost:\n\n",
      "A / HTTP/1.1\nHost:\nExpect:100-continue\nContent-Length:1\n\n1",
      "A / HTTP/1.1\nHost:\nTransfer-Encoding:chunked\n\n0\r\n\r\n",
      "1\r\nx\r\n",
      "\n",
      "HEAD / HTTP/1.1\nHost:\n\n"};
  for (int round = 0; round < 200; ++round) {
    Talk talk("http-echo");
    const std::size_t size = talk.service->read_size();
    for (int piece = 0; piece < 6 && !talk.last.last; ++piece) {
      const std::string_view part = parts[random.below(std::size(parts))];
      std::string text;
      while (text.size() + part.size() <= size) text += part;
      ASSERT_LE(talk.say(text).size(), limit) << part;
    }
  }
}

}  // namespace
}  // namespace duolu::apps
