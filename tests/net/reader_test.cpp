// Reader, over reads that give as much as the test says.
#include "duolu/net/reader.hpp"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "duolu/base/prng.hpp"
#include "duolu/engine/engines.hpp"
#include "duolu/loop/loop.hpp"
#include "duolu/testing/forwarding.hpp"
#include "support/endpoints.hpp"

namespace duolu::test {
namespace {

/// What is read from one descriptor is `text`, at most `piece` bytes a time behind the first
/// `at_once`.
class PiecesKernel final : public ForwardingKernel {
 public:
  int fd = -1;
  std::string text;
  std::size_t given = 0;
  std::size_t piece = SIZE_MAX;
  std::size_t at_once = 0;
  Duration after_that{};  ///< Time of this thread when `at_once` had been given.

  ssize_t read(int from, void* buffer, std::size_t size) noexcept override {
    if (from != fd) return ForwardingKernel::read(from, buffer, size);
    if (given == at_once) after_that = real_host().thread_cpu_time();
    const std::size_t most = given < at_once ? at_once - given : piece;
    const std::size_t part = std::min({size, most, text.size() - given});
    std::copy_n(text.data() + given, part, static_cast<char*>(buffer));
    given += part;
    return static_cast<ssize_t>(part);
  }
};

class ReaderTest : public testing::Test {
 protected:
  /// Runs a task of a stream that gives `text`, and then its end.
  template <class Use>
  void run(std::string text, std::size_t piece, Use use, std::size_t at_once = 0) {
    Pair ends = fifo_pair();  // never read: it is ready, and no more
    put(ends.b.get(), "x");
    kernel.fd = ends.a.get();
    kernel.text = std::move(text);
    kernel.piece = piece;
    kernel.at_once = at_once;
    kernel.given = 0;
    Stream stream = Stream::open(loop, std::move(ends.a)).value();
    loop.run(use(&stream));
    kernel.fd = -1;
  }

  PiecesKernel kernel;
  std::unique_ptr<Engine> engine = make_engine(kernel).value();
  Loop loop{*engine};
};

/// What read_until() gives, from one call to the next; "too long" and nothing more where it is.
std::vector<std::string> pieces_of(std::string_view text, std::string_view delimiter,
                                   std::size_t limit) {
  std::vector<std::string> pieces;
  for (;;) {
    const std::size_t found = text.substr(0, limit).find(delimiter);
    if (found == std::string_view::npos && text.size() > limit) {
      pieces.emplace_back("too long");
      return pieces;
    }
    const std::size_t size =
        found == std::string_view::npos ? text.size() : found + delimiter.size();
    pieces.emplace_back(text.substr(0, size));
    if (text.empty()) return pieces;
    text.remove_prefix(size);
  }
}

Task<> collect(Stream* from, std::string_view delimiter, std::size_t limit,
               std::vector<std::string>* pieces) {
  Reader reader(*from, limit);
  for (;;) {
    const Result<std::string_view> piece = co_await reader.read_until(delimiter);
    if (!piece) {
      EXPECT_EQ(piece.error(), StreamError::too_long);
      pieces->emplace_back("too long");
      co_return;
    }
    pieces->emplace_back(*piece);
    if (piece->empty()) co_return;
  }
}

TEST_F(ReaderTest, gives_the_same_however_the_bytes_come) {
  Prng random(1);
  for (const std::string_view delimiter : {"\n", "\r\n", "\r\n\r\n", "aab"}) {
    for (int round = 0; round < 200; ++round) {
      std::string text(random.below(60), ' ');
      for (char& c : text) c = "\r\nab"[random.below(4)];
      const std::size_t limit = random.between(1, 30);
      const std::vector<std::string> right = pieces_of(text, delimiter, limit);
      for (const std::size_t piece : {1U, 2U, 3U, 5U, 4096U}) {
        std::vector<std::string> got;
        run(text, piece, [&](Stream* from) { return collect(from, delimiter, limit, &got); });
        ASSERT_EQ(got, right) << "limit " << limit << ", read " << piece << " a time";
      }
    }
  }
}

TEST_F(ReaderTest, the_last_piece_may_be_as_long_as_the_limit) {
  for (const std::size_t limit : {1U, 5U, 4095U, 4096U, 5000U, 70'000U}) {
    for (const std::size_t piece : {std::size_t{1}, limit, limit * 2}) {
      SCOPED_TRACE(limit);
      for (const std::size_t size : {limit, limit + 1}) {
        const std::string text(size, 'x');
        std::vector<std::string> got;
        run(text, piece, [&](Stream* from) { return collect(from, "\n", limit, &got); });
        if (size == limit) {
          EXPECT_EQ(got, (std::vector<std::string>{text, ""}));
        } else {
          EXPECT_EQ(got, std::vector<std::string>{"too long"});
        }
      }
    }
  }
}

TEST_F(ReaderTest, what_was_too_long_can_be_had_and_nothing_is_lost) {
  run("0123456789|tail", 4, [](Stream* from) -> Task<> {
    Reader reader(*from, 6);
    EXPECT_EQ((co_await reader.read_until("|")).error(), StreamError::too_long);
    std::string all(reader.take());
    EXPECT_EQ(all, "0123456");  // and the byte behind the limit
    EXPECT_EQ(reader.take(), "");
    EXPECT_EQ((co_await reader.read_until("|")).value(), "789|");
    EXPECT_EQ((co_await reader.read_exact(4)).value(), "tail");
    EXPECT_EQ((co_await reader.read_exact(1)).error(), StreamError::ended);
    EXPECT_EQ((co_await reader.read_exact(7)).error(), StreamError::too_long);
  });
}

TEST_F(ReaderTest, lines_and_sizes_by_turns_keep_their_order) {
  Prng random(2);
  std::string text;
  for (int i = 0; i < 300; ++i)
    text += std::string(random.below(3000), 'x') + "\n" + std::string(random.below(3000), 'y');
  for (const std::size_t piece : {7U, 1000U, 5000U, 1'000'000U}) {
    std::string back;
    run(text, piece, [&back](Stream* from) -> Task<> {
      Reader reader(*from, 6001);
      for (std::size_t size = 1;; size = size % 97 + 1) {
        const Result<std::string_view> line = co_await reader.read_until("\n");
        EXPECT_TRUE(line);
        if (!line || line->empty()) co_return;
        back += *line;
        const Result<std::string_view> some = co_await reader.read_exact(size);
        if (some) back += *some;
      }
    });
    EXPECT_EQ(back, text) << piece;
  }
}

TEST_F(ReaderTest, read_some_returns_what_there_is_and_then_what_comes) {
  std::vector<std::string> pieces;
  run("line\nrest, then more", 12, [&pieces](Stream* from) -> Task<> {
    Reader reader(*from);
    pieces.emplace_back((co_await reader.read_until("\n")).value());
    for (;;) {
      const Result<std::string_view> some = co_await reader.read_some();
      EXPECT_TRUE(some);
      if (!some || some->empty()) co_return;
      pieces.emplace_back(*some);
    }
  });
  EXPECT_EQ(pieces, (std::vector<std::string>{"line\n", "rest, t", "hen more"}));
}

TEST_F(ReaderTest, no_limit_is_a_limit) {
  std::vector<std::string> got;
  run("a\nb", 1, [&](Stream* from) { return collect(from, "\n", SIZE_MAX, &got); });
  EXPECT_EQ(got, (std::vector<std::string>{"a\n", "b", ""}));
}

// Compared with what it costs behind a short beginning, in time of this thread: copying all of it
// for each byte costs hundreds of times as much.
TEST_F(ReaderTest, a_byte_costs_the_same_behind_a_long_beginning) {
  Duration cost[2] = {Duration::max(), Duration::max()};
  // The least of some: what else the machine does only adds to it.
  for (const bool is_long : {false, true, false, true, false, true}) {
    // Far from where the buffer doubles.
    const std::size_t head = is_long ? std::size_t{6} << 20U : 2000;
    std::size_t got = 0;
    run(
        std::string(head + 2000, 'x') + "\n", 1,
        [&got](Stream* from) -> Task<> {
          Reader reader(*from, std::size_t{64} << 20U);
          const Result<std::string_view> line = co_await reader.read_until("\n");
          EXPECT_TRUE(line);
          if (line) got = line->size();
        },
        head);
    Duration& least = cost[is_long ? 1 : 0];
    least = std::min(least, real_host().thread_cpu_time() - kernel.after_that);
    EXPECT_EQ(got, head + 2001);
  }
  EXPECT_LT(cost[1], 30 * cost[0]);
}

// Pieces that are given out one after the other behind much that has come: nothing is moved for
// each.
TEST_F(ReaderTest, a_piece_costs_the_same_in_front_of_a_long_rest) {
  std::size_t lines = 0;
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += "line\n";
  run(text, SIZE_MAX, [&lines](Stream* from) -> Task<> {
    Reader reader(*from, std::size_t{4} << 20U);
    const Result<std::string_view> all = co_await reader.read_exact(5);
    EXPECT_TRUE(all);
    const char* const at = all ? all->data() : nullptr;
    for (;;) {
      const Result<std::string_view> line = co_await reader.read_until("\n");
      EXPECT_TRUE(line);
      if (!line || line->empty()) co_return;
      // In place, as long as there is no need to read more.
      if (lines < 800) {
        EXPECT_EQ(line->data(), at + 5 * (lines + 1));
      }
      ++lines;
    }
  });
  EXPECT_EQ(lines, 199'999U);
}

}  // namespace
}  // namespace duolu::test
