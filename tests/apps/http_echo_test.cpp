// HTTP as RFC 9112 has it: what is answered, what is refused, and that cuts make no difference.
#include "apps/http_echo.hpp"

#include <gtest/gtest.h>

#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "duolu/base/prng.hpp"
#include "duolu/testing/forwarding.hpp"

namespace duolu::apps {
namespace {

using namespace std::string_literals;

struct Output {
  std::string bytes;
  bool open = true;  ///< What the last consume() said.
};

/// Whose time stands still, so that equal requests have equal answers.
class StoppedClock final : public ForwardingHost {
 public:
  Duration real_time() noexcept override { return time; }
  Duration time = std::chrono::seconds(784111777);  // the example of RFC 9110, 5.6.7
};

StoppedClock& stopped_clock() {
  static StoppedClock clock;
  return clock;
}

/// Feeds `input` in pieces whose sizes `next` chooses.
template <class Next>
Output feed(std::string_view input, Next next) {
  HttpDate date(stopped_clock());
  HttpEcho http(date);
  Output output;
  std::vector<char> sent;
  while (!input.empty()) {
    const std::size_t size = std::min<std::size_t>(next(), input.size());
    output.open = http.consume({input.data(), size}, sent);
    input.remove_prefix(size);
  }
  output.bytes.assign(sent.begin(), sent.end());
  return output;
}

Output feed(std::string_view input) {
  return feed(input, [] { return SIZE_MAX; });
}

/// One answer as a client understands it, by rules of its own: nothing of HttpEcho is used.
struct Answer {
  std::string status;
  std::string head;
  std::string body;
  bool complete = true;

  [[nodiscard]] bool has(std::string_view line) const {
    return head.find("\r\n" + std::string(line) + "\r\n") != std::string::npos;
  }
  bool operator==(const Answer&) const = default;
};

/// Takes one answer off the front; nothing when what is there is no answer. `to_head`: no body.
std::optional<Answer> take_answer(std::string_view& bytes, bool to_head) {
  const std::size_t end = bytes.find("\r\n\r\n");
  if (!bytes.starts_with("HTTP/1.1 ") || end == std::string_view::npos) return std::nullopt;
  Answer answer;
  answer.head = bytes.substr(0, end + 2);
  answer.status = bytes.substr(9, 3);
  bytes.remove_prefix(end + 4);
  if (to_head || answer.status == "100") return answer;
  if (const std::size_t at = answer.head.find("Content-Length: "); at != std::string::npos) {
    std::size_t length = 0;
    std::from_chars(answer.head.data() + at + 16, answer.head.data() + answer.head.size(), length);
    answer.complete = length <= bytes.size();
    answer.body = bytes.substr(0, length);
    bytes.remove_prefix(std::min(length, bytes.size()));
    return answer;
  }
  if (!answer.has("Transfer-Encoding: chunked")) return std::nullopt;
  for (;;) {
    std::size_t size = 0;
    const auto [rest, error] = std::from_chars(bytes.data(), bytes.data() + bytes.size(), size, 16);
    const auto digits = static_cast<std::size_t>(rest - bytes.data());
    if (bytes.empty()) {
      answer.complete = false;
      return answer;
    }
    if (error != std::errc() || bytes.substr(digits, 2) != "\r\n") return std::nullopt;
    bytes.remove_prefix(digits + 2);
    if (bytes.size() < size + 2 || bytes.substr(size, 2) != "\r\n") return std::nullopt;
    answer.body += bytes.substr(0, size);
    bytes.remove_prefix(size + 2);
    if (size == 0) return answer;
  }
}

/// Every answer of a stream; `heads[i]` says that the i-th request was HEAD. Fails on leftovers.
std::vector<Answer> answers(const std::string& bytes, const std::vector<bool>& heads = {}) {
  std::vector<Answer> all;
  std::string_view rest = bytes;
  std::size_t final_answers = 0;
  while (!rest.empty()) {
    const bool to_head = final_answers < heads.size() && heads[final_answers];
    const std::optional<Answer> answer = take_answer(rest, to_head);
    if (!answer) {
      ADD_FAILURE() << "no answer at: " << rest.substr(0, 100);
      break;
    }
    if (answer->status != "100") ++final_answers;
    all.push_back(*answer);
  }
  return all;
}

Answer only_answer(const Output& output) {
  const std::vector<Answer> all = answers(output.bytes);
  EXPECT_EQ(all.size(), 1U) << output.bytes;
  return all.empty() ? Answer{} : all.front();
}

const std::string get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

TEST(HttpEchoTest, a_request_comes_back_as_the_body) {
  const Output output = feed(get);
  EXPECT_TRUE(output.open);
  const Answer answer = only_answer(output);
  EXPECT_EQ(answer.status, "200");
  EXPECT_EQ(answer.body, get);
  EXPECT_TRUE(answer.has("Content-Length: " + std::to_string(get.size())));
  EXPECT_FALSE(answer.has("Connection: close"));
}

TEST(HttpEchoTest, answers_have_a_date) {
  for (const std::string& request : {get, "GET / HTTP/1.0\r\n\r\n"s, "bad\r\n\r\n"s})
    EXPECT_TRUE(only_answer(feed(request)).has("Date: Sun, 06 Nov 1994 08:49:37 GMT")) << request;
  const std::string upload =
      "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
      "Content-Length: 1\r\n\r\nx";
  EXPECT_TRUE(answers(feed(upload).bytes).back().has("Date: Sun, 06 Nov 1994 08:49:37 GMT"));
}

TEST(HttpDateTest, the_form_of_rfc_9110) {
  StoppedClock clock;
  HttpDate date(clock);
  const std::pair<std::int64_t, std::string_view> rows[] = {
      {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
      {951782399, "Mon, 28 Feb 2000 23:59:59 GMT"},
      {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
      {1798761599, "Thu, 31 Dec 2026 23:59:59 GMT"},
      {4102444800, "Fri, 01 Jan 2100 00:00:00 GMT"},
      {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"},  // a clock may be set back
  };
  for (const auto& [second, text] : rows) {
    clock.time = std::chrono::seconds(second);
    EXPECT_EQ(date.now(), text);
    clock.time += std::chrono::nanoseconds(999'999'999);
    EXPECT_EQ(date.now(), text);
  }
}

TEST(HttpEchoTest, a_head_has_begun_until_it_is_complete) {
  HttpDate date(stopped_clock());
  HttpEcho http(date);
  std::vector<char> sent;
  const auto in_head_after = [&](std::string_view text) {
    http.consume(text, sent);
    return http.in_head();
  };
  EXPECT_FALSE(http.in_head());
  EXPECT_TRUE(in_head_after("\r\n"));  // an empty line before it
  EXPECT_TRUE(in_head_after("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"));
  EXPECT_FALSE(in_head_after("\r\n"));
  EXPECT_FALSE(in_head_after("a"));
  EXPECT_FALSE(in_head_after("b"));
  EXPECT_TRUE(in_head_after("G"));
  EXPECT_FALSE(in_head_after("ET / HTTP/1.1\r\nHost: a\r\n\r\n"));
}

TEST(HttpEchoTest, requests_in_one_piece_are_all_answered) {
  const std::string post = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
  const std::vector<Answer> all = answers(feed(get + post + get + get).bytes);
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[0].body, get);
  EXPECT_EQ(all[1].body, post);
  EXPECT_EQ(all[3].body, get);
}

TEST(HttpEchoTest, connection_close_ends_after_its_answer) {
  const std::string last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE ,y\r\n\r\n";
  const Output output = feed(get + last + get);
  EXPECT_FALSE(output.open);
  const std::vector<Answer> all = answers(output.bytes);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_FALSE(all[0].has("Connection: close"));
  EXPECT_TRUE(all[1].has("Connection: close"));
}

TEST(HttpEchoTest, a_body_is_taken_whole_before_the_end) {
  const std::string head =
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\n";
  EXPECT_TRUE(feed(head + "ab").open);
  const Output output = feed(head + "abc");
  EXPECT_FALSE(output.open);
  EXPECT_EQ(only_answer(output).body, head + "abc");
}

TEST(HttpEchoTest, http_1_0_closes_and_needs_no_host) {
  const std::string request = "GET / HTTP/1.0\r\n\r\n";
  const Output output = feed(request);
  EXPECT_FALSE(output.open);
  EXPECT_EQ(only_answer(output).body, request);
  EXPECT_TRUE(only_answer(output).has("Connection: close"));
}

TEST(HttpEchoTest, a_later_minor_version_is_1_1) {
  EXPECT_EQ(only_answer(feed("GET / HTTP/1.9\r\nHost: a\r\n\r\n")).status, "200");
  EXPECT_EQ(only_answer(feed("GET / HTTP/1.9\r\n\r\n")).status, "400");
}

TEST(HttpEchoTest, head_is_answered_without_a_body) {
  const std::string head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::vector<Answer> all = answers(feed(head + get).bytes, {true, false});
  ASSERT_EQ(all.size(), 2U);
  EXPECT_TRUE(all[0].has("Content-Length: " + std::to_string(head.size())));
  EXPECT_EQ(all[0].body, "");
  EXPECT_EQ(all[1].body, get);
}

TEST(HttpEchoTest, head_with_a_body_sends_none_of_it) {
  const std::string sized = "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
  const std::string chunked =
      "HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  const std::vector<Answer> all = answers(feed(sized + chunked + get).bytes, {true, true, false});
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[2].body, get);
}

TEST(HttpEchoTest, a_refused_head_has_no_body_either) {
  for (const std::string& request :
       {"HEAD / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n"s, "HEAD / HTTP/1.1\r\n\r\n"s,
        "HEAD / HTTP/1.1\r\nX: "s + std::string(HttpEcho::max_head, 'a')}) {
    const Output output = feed(request);
    EXPECT_FALSE(output.open);
    EXPECT_TRUE(output.bytes.starts_with("HTTP/1.1 4"));
    EXPECT_TRUE(output.bytes.ends_with("\r\n\r\n")) << output.bytes;
  }
  // The request before was HEAD, this one is not.
  const Output output = feed("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(output.bytes.ends_with("400 Bad Request\n"));
  EXPECT_TRUE(
      feed("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n\x01\r\n\r\n").bytes.ends_with("400 Bad Request\n"));
}

TEST(HttpEchoTest, chunked_comes_back_chunked) {
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n";
  const std::string body =
      "5\r\nhello\r\n00A;name=\"v\"\r\n0123456789\r\n"
      "1 \t; a = b\r\nx\r\n0\t;z\r\nTrailer: x\r\nT:\r\n\r\n";
  const Output output = feed(head + body + get);
  EXPECT_TRUE(output.open);
  const std::vector<Answer> all = answers(output.bytes);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].body, head + body);
  EXPECT_TRUE(all[0].complete);
  EXPECT_EQ(all[1].body, get);
}

TEST(HttpEchoTest, a_broken_chunk_leaves_the_answer_visibly_unfinished) {
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string_view body : {"x\r\n",
                                      "\r\n",
                                      "0x5\r\nhello\r\n",
                                      "-5\r\nhello\r\n",
                                      "+5\r\nhello\r\n",
                                      " 5\r\nhello\r\n",
                                      "5 \r\nhello\r\n",
                                      "5\nhello\r\n",
                                      "5\r\nhelloX\r\n",
                                      "5\r\nhello\n",
                                      "5\r\nhello\r\r\n",
                                      "5\r\nhello\r\n0\r\nbad\x01trailer\r\n\r\n",
                                      "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
                                      "5\r\nhello\r\n0\r\nnocolon\r\n\r\n",
                                      "5\r\nhello\r\n0\r\n: no name\r\n\r\n",
                                      "5\r\nhello\r\n0\r\nT : t\r\n\r\n",
                                      "5\r\nhello\r\n0\r\nT: t\r\n folded\r\n\r\n",
                                      " ; a = b\r\nhello\r\n",
                                      "5 5;a\r\nhello\r\n",
                                      "5\r\nhello\r\n0\n\r\n",
                                      "5\r\nhello\r\n0\r\n\n",
                                      "5;\x01\r\nhello\r\n",
                                      "5;a\rb\r\nhello\r\n",
                                      "ffffffffffffffff\r\nhello\r\n",
                                      "10000000000000005\r\nhello\r\n",
                                      ";x\r\n",
                                      "5\r\r\nhello\r\n"}) {
    const Output output = feed(head + std::string(body) + get);
    EXPECT_FALSE(output.open) << body;
    const Answer answer = only_answer(output);
    EXPECT_EQ(answer.status, "200");
    EXPECT_FALSE(answer.complete) << body;
  }
}

TEST(HttpEchoTest, endless_framing_lines_are_refused) {
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_FALSE(feed(head + "5;" + std::string(HttpEcho::max_head, 'x')).open);
  EXPECT_FALSE(feed(head + "0\r\n" + std::string(HttpEcho::max_head + 1, 'x')).open);
  EXPECT_FALSE(feed(head + std::string(HttpEcho::max_head + 1, '0')).open);
}

TEST(HttpEchoTest, expect_continue_is_met_before_the_body) {
  const std::string head =
      "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n";
  const std::vector<Answer> before = answers(feed(head + "ab").bytes);
  ASSERT_EQ(before.size(), 2U);
  EXPECT_EQ(before[0].status, "100");
  EXPECT_EQ(before[1].body, head + "ab");
  EXPECT_TRUE(feed(head).bytes.starts_with("HTTP/1.1 100 Continue\r\n\r\n"));
  // Nothing to wait for, or a client that does not know it (RFC 9110, 10.1.1).
  EXPECT_EQ(answers(feed("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n").bytes).size(),
            1U);
  EXPECT_EQ(
      only_answer(feed("PUT / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nab"))
          .status,
      "200");
}

TEST(HttpEchoTest, empty_lines_before_a_request_are_passed_over) {
  EXPECT_EQ(only_answer(feed("\r\n\r\n\n" + get)).body, get);
  EXPECT_EQ(answers(feed(get + "\r\n" + get).bytes).size(), 2U);
}

TEST(HttpEchoTest, a_bare_line_feed_ends_a_line) {
  EXPECT_EQ(only_answer(feed("GET / HTTP/1.1\nHost: a\n\n")).status, "200");
}

TEST(HttpEchoTest, what_is_refused) {
  struct Row {
    std::string_view status;
    std::string request;
  };
  const std::string line = "GET / HTTP/1.1\r\n";
  const std::string host = line + "Host: a\r\n";
  const Row rows[] = {
      {"400", line + "\r\n"},               // no Host
      {"400", host + "Host: a\r\n\r\n"},    // two
      {"400", line + "Host: a b\r\n\r\n"},  // RFC 9112, 3.2: invalid value
      {"400", line + "Host: a/b\r\n\r\n"},
      {"400", line + "Host: u@a\r\n\r\n"},
      {"400", line + "Host : a\r\n\r\n"},    // space before the colon
      {"400", line + " Host: a\r\n\r\n"},    // folded request line
      {"400", host + "X: a\r\n b\r\n\r\n"},  // obs-fold
      {"400", host + "X: a\r\n\tb\r\n\r\n"},
      {"400", host + "X: a\rb\r\n\r\n"},  // bare CR
      {"400", host + "X: a\r\r\n\r\n"},
      {"400", host + "X: a\0b\r\n\r\n"s},  // NUL
      {"400", host + "X\0: a\r\n\r\n"s},
      {"400", host + "X: \x7f\r\n\r\n"},
      {"400", host + "X: \x1b[31m\r\n\r\n"},
      {"400", host + "X\r\n\r\n"},    // no colon
      {"400", host + ": a\r\n\r\n"},  // no name
      {"400", host + "X(: a\r\n\r\n"},
      {"400", host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"400", host + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"},
      {"400", host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"400", host + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"},
      {"400", host + "Content-Length: 5, 5\r\n\r\n"},
      {"400", host + "Content-Length: -5\r\n\r\n"},
      {"400", host + "Content-Length: +5\r\n\r\n"},
      {"400", host + "Content-Length: 0x5\r\n\r\n"},
      {"400", host + "Content-Length: 5 5\r\n\r\n"},
      {"400", host + "Content-Length:\r\n\r\n"},
      {"400", host + "Content-Length: 9999999999999999999\r\n\r\n"},
      {"400", host + "Content-Length: 99999999999999999999999\r\n\r\n"},
      {"400", "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"501", host + "Transfer-Encoding: gzip, chunked\r\n\r\n"},
      {"501", host + "Transfer-Encoding: chunked, chunked\r\n\r\n"},
      {"501", host + "Transfer-Encoding: identity\r\n\r\n"},
      {"501", host + "Transfer-Encoding: xchunked\r\n\r\n"},
      {"400", host + "Transfer-Encoding: \x0b"
                     "chunked\r\n\r\n"},
      {"417", host + "Expect: 200-ok\r\n\r\n"},
      {"505", "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
      {"505", "GET / HTTP/0.9\r\n\r\n"},
      {"505", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},  // HTTP/2's preface
      {"400", "GET / HTTP/1.x\r\nHost: a\r\n\r\n"},
      {"400", "GET / HTTP/x.1\r\nHost: a\r\n\r\n"},
      {"400", "GET / HTTP/11\r\nHost: a\r\n\r\n"},
      {"400", "GET / http/1.1\r\nHost: a\r\n\r\n"},
      {"400", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"},
      {"400", "GET /\r\n\r\n"},  // HTTP/0.9
      {"400", "GET\r\n\r\n"},
      {"400", "GET  HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"400", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"400", "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"400", " GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"400", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"400", "\x16\x03\x01\x02\r\n\r\n"},                   // TLS to a plain port
      {"501", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"},  // 200 would promise a tunnel
      {"400", "GET * HTTP/1.1\r\nHost: a\r\n\r\n"},          // RFC 9112, 3.2.4: OPTIONS only
      {"400", "HEAD * HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"400", "OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"400", "GET a HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"400", "GET a/b:1 HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"400", "GET : HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"414", "GET /" + std::string(HttpEcho::max_head, 'a')},
      {"414", "GET /" + std::string(HttpEcho::max_head, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"501", std::string(HttpEcho::max_head + 1, 'a')},
      {"400", std::string(HttpEcho::max_head + 1, '(')},
      {"431", line + std::string(HttpEcho::max_head, 'a')},
      {"431", host + "X: " + std::string(HttpEcho::max_head, 'a') + "\r\n\r\n"},
  };
  for (const Row& row : rows) {
    const Output output = feed(row.request + get);
    EXPECT_FALSE(output.open) << row.request;
    const Answer answer = only_answer(output);
    EXPECT_EQ(answer.status, row.status) << row.request;
    EXPECT_TRUE(answer.has("Connection: close")) << row.request;
  }
}

TEST(HttpEchoTest, what_looks_odd_and_is_right) {
  for (const std::string_view request :
       {"GET /* HTTP/1.1\r\nHost:\r\n\r\n", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET http://a/b HTTP/1.1\r\nHOST: a:80\r\n\r\n",
        "M!#$%&'*+-.^_`|~ / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:a\r\nX:\r\nY:  \t \r\nZ: \xff\xfe\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 000\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \t a \t \r\nConnection: keep-alive, upgrade\r\nUpgrade: "
        "h2c\r\n\r\n"})
    EXPECT_EQ(only_answer(feed(request)).body, request);
  EXPECT_EQ(
      only_answer(
          feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab"))
          .status,
      "200");
}

TEST(HttpEchoTest, a_head_of_exactly_the_limit_is_answered) {
  std::string request = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
  request.append(HttpEcho::max_head - request.size() - 4, 'a').append("\r\n\r\n");
  EXPECT_EQ(only_answer(feed(request)).body, request);
  request.insert(request.size() - 4, "a");
  EXPECT_EQ(only_answer(feed(request)).status, "431");
}

TEST(HttpEchoTest, nothing_is_answered_after_the_end) {
  HttpDate date(stopped_clock());
  HttpEcho http(date);
  std::vector<char> sent;
  const std::string bad = "bad\r\n\r\n";
  EXPECT_FALSE(http.consume(bad, sent));
  const std::size_t size = sent.size();
  EXPECT_FALSE(http.consume(get, sent));
  EXPECT_EQ(sent.size(), size);
}

// --- the same bytes, however they are cut

const std::vector<std::string>& parts() {
  static const std::vector<std::string> list = {
      get,
      "\r\n",
      "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
      "HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n1234567",
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nT: t\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
      "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
      "GET / HTTP/1.0\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
      "GET / HTTP/1.1\r\n\r\n",
      "GET / HTTP/3.0\r\n\r\n",
      "rubbish\r\n\r\n",
  };
  return list;
}

/// What a client gets, without the borders of chunks. `head_only` requests among the parts: their
/// answers are told by the requests that were put in, so they are looked up in `input`.
std::string understood(const Output& output, const std::vector<bool>& heads) {
  std::string text;
  for (const Answer& answer : answers(output.bytes, heads))
    text += answer.head + "|" + answer.body + (answer.complete ? "|\n" : "|unfinished\n");
  return text + (output.open ? "open" : "closed");
}

TEST(HttpEchoTest, cuts_make_no_difference) {
  Prng random(3);
  for (int round = 0; round < 3'000; ++round) {
    std::string input;
    std::vector<bool> heads;
    for (std::uint64_t i = 1 + random.below(4); i > 0; --i) {
      const std::string& part = parts()[random.below(parts().size())];
      input += part;
      if (part != "\r\n") heads.push_back(part.starts_with("HEAD"));
    }
    const std::string whole = understood(feed(input), heads);
    ASSERT_EQ(understood(feed(input, [] { return 1U; }), heads), whole) << input;
    for (int cut = 0; cut < 4; ++cut) {
      const std::uint64_t longest = 1 + random.below(60);
      ASSERT_EQ(understood(feed(input, [&] { return 1 + random.below(longest); }), heads), whole)
          << input;
    }
  }
}

TEST(HttpEchoTest, every_cut_in_two_of_every_part) {
  for (const std::string& part : parts()) {
    const std::vector<bool> heads{part.starts_with("HEAD")};
    const std::string whole = understood(feed(part), heads);
    for (std::size_t at = 1; at < part.size(); ++at) {
      std::size_t piece = at;
      ASSERT_EQ(understood(feed(part, [&] { return std::exchange(piece, SIZE_MAX); }), heads),
                whole)
          << part << at;
    }
  }
}

// --- rubbish

TEST(HttpEchoTest, mutations_never_make_it_fall_over) {
  Prng random(4);
  std::size_t answered = 0;
  for (int round = 0; round < 60'000; ++round) {
    std::string input;
    for (std::uint64_t i = 1 + random.below(3); i > 0; --i)
      input += parts()[random.below(parts().size())];
    for (std::uint64_t i = random.below(5); i > 0; --i) {
      const std::size_t at = random.below(input.size());
      switch (random.below(4)) {
        case 0: input[at] = static_cast<char>(random.next()); break;
        case 1: input.erase(at, 1 + random.below(4)); break;
        case 2: input.insert(at, 1, "\r\n\0 :;,0159\xff\t"[random.below(13)]); break;
        default:
          input.insert(at, input.substr(random.below(input.size()), random.below(20)));
          break;
      }
      if (input.empty()) input = "x";
    }
    const Output whole = feed(input);
    const Output cut = feed(input, [&] { return 1 + random.below(30); });
    ASSERT_EQ(whole.open, cut.open) << input;
    // No more than a fixed number of bytes of answer for each byte of input.
    ASSERT_LE(whole.bytes.size(), input.size() * 10 + 440) << input;
    answered += whole.bytes.starts_with("HTTP/1.1 200") ? 1 : 0;
  }
  EXPECT_GT(answered, 15'000U);  // or the mutations hide what is behind the first line
}

}  // namespace
}  // namespace duolu::apps
