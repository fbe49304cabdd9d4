// What people type and read: durations, counts, escapes.
#include "apps/text.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <string>
#include <string_view>

#include "duolu/base/prng.hpp"

namespace duolu::apps {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

TEST(TextTest, durations) {
  struct Row {
    std::string_view text;
    Duration value;
  };
  constexpr Row rows[] = {
      {"0", 0ns},       {"1", 1s},          {"250ms", 250ms},     {"1.5s", 1500ms},
      {"2m", 2min},     {"1h", 1h},         {"10us", 10us},       {"7ns", 7ns},
      {"0.5ms", 500us}, {".5s", 500ms},     {"1.s", 1s},          {"007s", 7s},
      {"0.25h", 15min}, {"36500h", 36500h}, {"0.000000001", 1ns}, {"876000h", 876000h},
  };
  for (const Row& row : rows) {
    const auto parsed = parse_duration(row.text);
    ASSERT_TRUE(parsed) << row.text;
    EXPECT_EQ(*parsed, row.value) << row.text;
  }
}

TEST(TextTest, what_is_no_duration) {
  const std::string_view rows[] = {
      "",           " ",     "s",         "ms",
      "-1s",        "-0",    "-0.0s",     "+1s",
      "1 s",        " 1s",   "1s ",       "1sec",
      "1S",         "1d",    "1e3s",      "1e3",
      "0x10",       "1,5s",  "1.5.s",     "--1",
      "inf",        "nan",   "infs",      "1s1s",
      "1m30s",      ".",     ".s",        "1_000",
      "999999999h", "1e400", "\xd9\xa1s", "100000000000000000000000000000000000000000000h"};
  for (const std::string_view text : rows) EXPECT_FALSE(parse_duration(text)) << text;
  EXPECT_FALSE(parse_duration("1\0"s));
  EXPECT_FALSE(parse_duration("1s\n"));
}

TEST(TextTest, counts) {
  struct Row {
    std::string_view text;
    std::uint64_t value;
  };
  constexpr Row rows[] = {
      {"0", 0},
      {"1500", 1500},
      {"10k", 10'000},
      {"10K", 10'000},
      {"2M", 2'000'000},
      {"3G", 3'000'000'000},
      {"64KiB", 65'536},
      {"1MiB", 1'048'576},
      {"1GiB", std::uint64_t{1} << 30U},
      {"1.5k", 1500},
      {"0.5KiB", 512},
      {"1.001k", 1001},
      {"4.35k", 4350},
      {"9000000000000000", 9'000'000'000'000'000},
  };
  for (const Row& row : rows) {
    const auto parsed = parse_count(row.text);
    ASSERT_TRUE(parsed) << row.text;
    EXPECT_EQ(*parsed, row.value) << row.text;
  }
}

TEST(TextTest, what_is_no_count) {
  const std::string_view rows[] = {"",
                                   "k",
                                   "-1",
                                   "-0",
                                   "+1",
                                   "1.5",
                                   "0.0001k",
                                   "1kb",
                                   "1 k",
                                   " 1",
                                   "1 ",
                                   "1T",
                                   "1kib",
                                   "1e3",
                                   "0x1F",
                                   "1.0001k",
                                   "nan",
                                   "inf",
                                   "9000000000000001k",
                                   "10000000000000000"};
  for (const std::string_view text : rows) EXPECT_FALSE(parse_count(text)) << text;
}

TEST(TextTest, rates) {
  struct Row {
    std::string_view text;
    double value;
  };
  constexpr Row rows[] = {{"1000", 1000},      {"20k", 20'000},       {"0.5", 0.5},
                          {"10/s", 10},        {"10/m", 10.0 / 60},   {"100/h", 100.0 / 3600},
                          {"0.5/m", 0.5 / 60}, {"1k/m", 1000.0 / 60}, {"1/h", 1.0 / 3600}};
  for (const Row& row : rows) {
    const auto parsed = parse_rate(row.text);
    ASSERT_TRUE(parsed) << row.text;
    EXPECT_DOUBLE_EQ(*parsed, row.value) << row.text;
  }
  for (const std::string_view text : {"", "0", "0/m", "-1", "-1/m", "x", "1/", "/m", "1/d", "1//m",
                                      "1/m/s", "1 /m", "1/ms", "1/1m", "1e3", "nan", "inf"})
    EXPECT_FALSE(parse_rate(text)) << text;
}

TEST(TextTest, words_as_a_shell_takes_them) {
  EXPECT_EQ(shell_quote("tcp://127.0.0.1:5000"), "tcp://127.0.0.1:5000");
  EXPECT_EQ(shell_quote("100/h"), "100/h");
  EXPECT_EQ(shell_quote(""), "''");
  EXPECT_EQ(shell_quote("[::1]:5000"), "'[::1]:5000'");
  EXPECT_EQ(shell_quote("unix:///a b;$HOME`x`\\"), "'unix:///a b;$HOME`x`\\'");
  EXPECT_EQ(shell_quote("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_quote("a\nb'\\\x1b"), "$'a\\x0ab\\'\\\\\\x1b'");
}

TEST(TextTest, every_thousandth_is_the_number_that_was_written) {
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    std::string digits = std::to_string(i % 1000);
    digits.insert(0, 3 - digits.size(), '0');
    const std::string text = std::to_string(i / 1000) + "." + digits + "k";
    ASSERT_EQ(parse_count(text), i) << text;
  }
}

TEST(TextTest, escapes_are_resolved) {
  EXPECT_EQ(unescape(""), "");
  EXPECT_EQ(unescape("plain text"), "plain text");
  EXPECT_EQ(unescape("\\r\\n\\r\\n"), "\r\n\r\n");
  EXPECT_EQ(unescape("\\t\\0\\\\\\\"\\'"), "\t\0\\\"'"s);
  EXPECT_EQ(unescape("\\x00\\x7f\\xFf"), "\x00\x7f\xff"s);
  EXPECT_EQ(unescape("\\x412"), "A2");  // two digits, not more
  EXPECT_EQ(unescape("\\012"), "\0"s + "12");
  EXPECT_EQ(unescape("caf\xc3\xa9"), "caf\xc3\xa9");
}

TEST(TextTest, what_is_no_escape) {
  for (const std::string_view text : {"\\", "a\\", "\\q", "\\x", "\\x4", "\\xg0", "\\x0g", "\\X41",
                                      "\\ ", "\\\\\\", "\\x-1", "\\R"})
    EXPECT_FALSE(unescape(text)) << text;
}

TEST(TextTest, what_is_shown_is_printable_and_comes_back) {
  Prng random(1);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes(random.below(40), '\0');
    for (char& c : bytes) c = static_cast<char>(random.next());
    const std::string shown = escape(bytes);
    ASSERT_TRUE(
        std::all_of(shown.begin(), shown.end(), [](char c) { return c >= 0x20 && c < 0x7f; }));
    ASSERT_EQ(unescape(shown), bytes) << shown;
  }
}

TEST(TextTest, every_pair_of_bytes_comes_back) {
  for (int first = 0; first < 256; ++first)
    for (int second = 0; second < 256; ++second) {
      const std::string bytes{static_cast<char>(first), static_cast<char>(second)};
      ASSERT_EQ(unescape(escape(bytes)), bytes);
    }
}

TEST(TextTest, nothing_makes_the_parsers_fall_over) {
  Prng random(2);
  constexpr std::string_view alphabet = "0123456789.-+exkKMGibmsunh \\rn0t\"'\0\x80\xff";
  for (int round = 0; round < 50'000; ++round) {
    std::string text(random.below(12), '\0');
    for (char& c : text) c = alphabet[random.below(alphabet.size())];
    const auto duration = parse_duration(text);
    if (duration) {
      ASSERT_GE(*duration, Duration::zero()) << text;
    }
    const auto count = parse_count(text);
    if (count) {
      ASSERT_LE(*count, 9'000'000'000'000'000U) << text;
    }
    const auto plain = unescape(text);
    if (plain) {
      ASSERT_LE(plain->size(), text.size());
    }
  }
}

TEST(TextTest, what_is_too_long_is_cut_and_says_so) {
  EXPECT_EQ(escape("abcdef", 3), "abc...");
  EXPECT_EQ(escape("abc", 3), "abc");
  EXPECT_EQ(escape("\x1b[31m", 1), "\\x1b...");
  EXPECT_EQ(escape("", 0), "");
  EXPECT_EQ(escape("a", 0), "...");
}

TEST(TextTest, durations_for_people) {
  EXPECT_EQ(to_text(1500ms), "1.5s");
  EXPECT_EQ(to_text(20ms), "20ms");
  EXPECT_EQ(to_text(7us), "7us");
  EXPECT_EQ(to_text(500ns), "0.5us");
  EXPECT_EQ(to_text(90s), "90s");
  EXPECT_EQ(to_text(3h), "10800s");
}

TEST(CountedTest, one_is_no_plural) {
  EXPECT_EQ(counted(0, "connection"), "0 connections");
  EXPECT_EQ(counted(1, "connection"), "1 connection");
  EXPECT_EQ(counted(2, "byte"), "2 bytes");
}

}  // namespace
}  // namespace duolu::apps
