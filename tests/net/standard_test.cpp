// Standard input and output that share an open file, or that are closed; on every backend.
#include "duolu/net/standard.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "duolu/testing/forwarding.hpp"
#include "support/endpoints.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

/// One where nothing can be opened once more, as without /proc.
class NoOpenKernel final : public ForwardingKernel {
 public:
  int open(const char*, int) noexcept override { return -ENOENT; }
};

struct HasNoOpen {
  NoOpenKernel kernel;
};
class StandardTest : protected HasNoOpen, public LoopFixture {
 protected:
  StandardTest() : LoopFixture(HasNoOpen::kernel) {}
  std::unique_ptr<StandardStream> open(int fd) {
    return std::make_unique<StandardStream>(StandardStream::open(loop, fd).value());
  }
};
DUOLU_EVERY_ENGINE(StandardTest);

bool blocks(int fd) { return (::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0; }
Fd twin_of(const Fd& fd) { return {real_kernel(), ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3)}; }
void let_block(const Fd& fd) {
  ASSERT_EQ(::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) & ~O_NONBLOCK), 0);
}

// As standard input and output of a program that was started by inetd, or in a terminal.
TEST_P(StandardTest, a_shared_file_blocks_again_when_the_last_stream_of_it_goes) {
  for (const auto make : {+[] { return unix_pair(); }, tcp_pair, fifo_pair, pty_pair}) {
    for (const bool first_goes_first : {false, true}) {
      Pair ends = make();
      const Fd input = twin_of(ends.a);
      const Fd output = twin_of(ends.a);
      let_block(input);
      std::unique_ptr<StandardStream> streams[2] = {open(input.get()), open(output.get())};
      EXPECT_FALSE(blocks(input.get()));
      streams[first_goes_first ? 0 : 1].reset();
      EXPECT_FALSE(blocks(input.get())) << "while another one is using it";
      streams[first_goes_first ? 1 : 0].reset();
      EXPECT_TRUE(blocks(input.get()));
    }
  }
}

TEST_P(StandardTest, a_number_that_is_closed_meanwhile_is_not_needed) {
  Pair ends = unix_pair();
  Fd input = twin_of(ends.a);
  Fd output = twin_of(ends.a);
  let_block(ends.a);
  std::unique_ptr<StandardStream> in = open(input.get());
  std::unique_ptr<StandardStream> out = open(output.get());
  in.reset();
  input.reset();
  out.reset();
  EXPECT_TRUE(blocks(ends.a.get()));
}

TEST_P(StandardTest, a_file_that_did_not_block_before_does_not_afterwards) {
  Pair ends = unix_pair();
  Pair others = unix_pair();
  let_block(others.a);
  std::unique_ptr<StandardStream> other = open(others.a.get());  // is another file
  {
    std::unique_ptr<StandardStream> in = open(ends.a.get());
    std::unique_ptr<StandardStream> out = open(ends.a.get());
    in.reset();
    other.reset();
    EXPECT_TRUE(blocks(others.a.get()));
  }
  EXPECT_FALSE(blocks(ends.a.get()));
}

TEST_P(StandardTest, other_flags_stay_as_they_are_by_then) {
  Pair ends = unix_pair();
  let_block(ends.a);
  std::unique_ptr<StandardStream> in = open(ends.a.get());
  ASSERT_EQ(::fcntl(ends.a.get(), F_SETFL, ::fcntl(ends.a.get(), F_GETFL) | O_APPEND), 0);
  in.reset();
  EXPECT_EQ(::fcntl(ends.a.get(), F_GETFL) & (O_APPEND | O_NONBLOCK), O_APPEND);
}

// Two files of one inode, each with flags of its own: opened twice.
TEST_P(StandardTest, files_that_are_not_shared_are_restored_each_for_itself) {
  ScratchDirectory scratch;
  const std::string path = scratch.path("fifo");
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const Fd one(real_kernel(), ::open(path.c_str(), O_RDWR | O_CLOEXEC));
  const Fd two(real_kernel(), ::open(path.c_str(), O_RDWR | O_CLOEXEC));
  const Fd never(real_kernel(), ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  std::unique_ptr<StandardStream> first = open(one.get());
  std::unique_ptr<StandardStream> second = open(two.get());
  EXPECT_FALSE(blocks(one.get()) || blocks(two.get()));
  second.reset();
  EXPECT_TRUE(blocks(two.get()));
  EXPECT_FALSE(blocks(one.get()));
  // This one cannot be told from a twin of the first, which may have to wait for it.
  std::unique_ptr<StandardStream> third = open(never.get());
  first.reset();
  third.reset();
  EXPECT_TRUE(blocks(one.get()));
  EXPECT_FALSE(blocks(never.get()));
}

TEST_P(StandardTest, it_can_be_moved) {
  Pair ends = unix_pair();
  let_block(ends.a);
  {
    std::unique_ptr<StandardStream> in = open(ends.a.get());
    const StandardStream moved = std::move(*in);
    in.reset();
    EXPECT_FALSE(blocks(ends.a.get()));
  }
  EXPECT_TRUE(blocks(ends.a.get()));
}

TEST_P(StandardTest, what_cannot_be_registered_is_restored) {
  Pair ends = unix_pair();
  let_block(ends.a);
  const std::unique_ptr<StandardStream> in = open(ends.a.get());
  EXPECT_FALSE(blocks(ends.a.get()));
  Result<StandardStream> closed = StandardStream::open(loop, -1);
  EXPECT_EQ(closed.error(), std::errc::bad_file_descriptor);
}

// Its parent may be using the file.
TEST_P(StandardTest, a_forked_child_restores_nothing) {
  Pair ends = unix_pair();
  let_block(ends.a);
  std::unique_ptr<StandardStream> in = open(ends.a.get());
  const pid_t child = ::fork();
  if (child == 0) {
    in.reset();
    ::_exit(0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(blocks(ends.a.get()));
  in.reset();
  EXPECT_TRUE(blocks(ends.a.get()));
}

// Its name is that of the multiplexer: opened again, it is another terminal (pty(7)).
TEST_P(StandardTest, the_master_of_a_terminal_is_not_opened_again) {
  const auto over_it = GetParam().make(real_kernel()).value();
  Loop on(*over_it);
  Pair ends = pty_pair();
  StandardStream master = StandardStream::open(on, ends.a.get()).value();
  put(ends.b.get(), "x");
  char byte = 0;
  on.run(
      [](Stream* from, char* to) -> Task<> { (void)co_await from->read(to, 1); }(&*master, &byte));
  EXPECT_EQ(byte, 'x');
}

/// What it says to standard input in a process that has none.
int error_without_standard_input(const EngineCell& cell) {
  ::close(STDIN_FILENO);
  const std::unique_ptr<Engine> engine = cell.make(real_kernel()).value();
  Loop loop(*engine);
  const Result<StandardStream> input = StandardStream::open(loop, STDIN_FILENO);
  return input ? 0 : input.error().value();
}

TEST_P(StandardTest, a_closed_standard_input_is_no_file_of_ours) {
  EXPECT_EXIT(::_exit(error_without_standard_input(GetParam())), testing::ExitedWithCode(EBADF),
              "");
}

}  // namespace
}  // namespace duolu::test
