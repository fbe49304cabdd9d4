// How replies are shown, what is expected of them, and how typed lines end.
#include "apps/transcript.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace duolu::apps {
namespace {

using namespace std::string_literals;

/// `bytes` in pieces of `size`.
std::string shown(Transcript transcript, std::string_view bytes, std::size_t size) {
  std::string text;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(size, bytes.size())))
    text += transcript.add(bytes.substr(0, size));
  return text + transcript.end();
}

TEST(TranscriptTest, safe_text_in_whatever_pieces) {
  struct Row {
    std::string bytes;
    std::string_view text;
  };
  const Row rows[] = {
      {"plain \"text\" \\ \t\n", "plain \"text\" \\ \t\n"},
      {"\x1b[31m\a\r\n\0\x7f"s, "\\x1b[31m\\x07\n\\x00\\x7f"},
      {"a\r\n\r\nb\rc\r\r\n\r", "a\n\nb\\rc\\r\n\\r"},  // what ends a line is not shown
      {"\xe5\r\n\xe5\r", "\\xe5\n\\xe5\\r"},
      {"\xc3\xa9\xe5\xa4\x9a\xf0\x9f\x98\x80", "\xc3\xa9\xe5\xa4\x9a\xf0\x9f\x98\x80"},
      {"\xc2\x9b", "\\xc2\\x9b"},                             // a control of Unicode
      {"\xe2\x80\xae", "\\xe2\\x80\\xae"},                    // turns the direction
      {"\xc0\xaf\xe0\x80\xaf", "\\xc0\\xaf\\xe0\\x80\\xaf"},  // too long a form
      {"\xed\xa0\x80", "\\xed\\xa0\\x80"},                    // half a character
      {"\xf4\x90\x80\x80\xff", "\\xf4\\x90\\x80\\x80\\xff"},  // beyond the last one
      {"\x80y", "\\x80y"},                                    // no begin
      {"\xe5\xa4y\xe5", "\\xe5\\xa4y\\xe5"},                  // no end
      {"\xe5\xc3\xa9", "\\xe5\xc3\xa9"},
  };
  for (const Row& row : rows)
    for (std::size_t size = 1; size <= row.bytes.size(); ++size)
      EXPECT_EQ(shown(Transcript(Transcript::Form::safe, ""), row.bytes, size), row.text);
}

TEST(TranscriptTest, marked_lines_come_out_whole) {
  Transcript transcript(Transcript::Form::raw, "[2] ");
  EXPECT_EQ(transcript.add("on"), "");
  EXPECT_EQ(transcript.add("e\ntwo\n\nth"), "[2] one\n[2] two\n[2] \n");
  EXPECT_EQ(transcript.add("ree"), "");
  EXPECT_EQ(transcript.end(), "[2] three\n");
  EXPECT_EQ(transcript.end(), "");
}

TEST(TranscriptTest, a_marked_line_is_broken_when_it_is_long) {
  const std::string whole(4096, 'x');
  EXPECT_EQ(shown(Transcript(Transcript::Form::raw, "> "), whole + "\ny", 1000),
            "> " + whole + "\n> y\n");
  EXPECT_EQ(shown(Transcript(Transcript::Form::raw, "> "), whole + "z\ny", 10'000),
            "> " + whole + "\n> z\n> y\n");
}

TEST(TranscriptTest, hexadecimal_lines_count_on) {
  Transcript transcript(Transcript::Form::hex, "");
  EXPECT_EQ(transcript.add("a\n"), "00000000  61 0a" + std::string(44, ' ') + "|a.|\n");
  EXPECT_EQ(transcript.add("0123456789abcdef!"),
            "00000002  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  |0123456789abcdef|\n"
            "00000012  21" +
                std::string(47, ' ') + "|!|\n");
  EXPECT_EQ(transcript.end(), "");
}

TEST(ExpectationTest, texts_are_found_in_order_in_whatever_pieces) {
  const std::vector<std::string> texts{"abd", "a", "\r\n"};
  const std::string_view stream = "ababd.a.\n\r\r\n";
  for (std::size_t size = 1; size <= stream.size(); ++size) {
    Expectation expectation(texts);
    for (std::size_t at = 0; at < stream.size(); at += size) {
      EXPECT_FALSE(expectation.met());
      expectation.add(stream.substr(at, size));
    }
    EXPECT_TRUE(expectation.met()) << size;
  }
  Expectation expectation(texts);
  expectation.add("abd\r\n");  // the second one does not come
  EXPECT_EQ(expectation.complaint("today"),
            "\"a\" did not come today; what came instead: \"\\r\\n\"");
}

TEST(ExpectationTest, what_came_instead_is_bounded) {
  const std::vector<std::string> texts{"never", std::string(5000, 'n')};
  Expectation expectation(texts);
  EXPECT_EQ(expectation.complaint("x"), "\"never\" did not come x; nothing came instead");
  for (int i = 0; i < 10'000; ++i) expectation.add("0123456789");
  const std::string complaint = expectation.complaint("x");
  EXPECT_TRUE(
      complaint.starts_with("\"never\" did not come x; what came instead ends, after "
                            "99800 bytes, in: \"0123456789"))
      << complaint;
  EXPECT_LT(complaint.size(), 400U);
  expectation.add("nev");
  expectation.add("er");
  for (int i = 0; i < 5000; ++i) {  // longer than what is kept for the complaint
    EXPECT_FALSE(expectation.met());
    expectation.add("n");
  }
  EXPECT_TRUE(expectation.met());
}

TEST(LineEndsTest, replaces_newlines) {
  std::string space;
  EXPECT_EQ(LineEnds("\n", false).apply("a\r\nb", space), "a\r\nb");
  EXPECT_EQ(LineEnds("", false).apply("a\nb\n", space), "ab");
  EXPECT_EQ(LineEnds("<>", false).apply("\na\r\n", space), "<>a\r<>");
  LineEnds crlf("\n", true);
  EXPECT_EQ(crlf.apply("a\n\nb\r\nc\r", space), "a\r\n\r\nb\r\nc\r");
  EXPECT_EQ(crlf.apply("\n\n", space), "\n\r\n");
}

}  // namespace
}  // namespace duolu::apps
