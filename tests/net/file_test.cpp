// Clauses FI1 to FI8 of file.hpp: on every engine, on rings that perform no requests about files,
// and on a scripted ring.
#include "duolu/net/file.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <deque>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "duolu/loop/within.hpp"
#include "duolu/net/stream.hpp"
#include "duolu/task/together.hpp"
#include "duolu/testing/fault.hpp"
#include "duolu/testing/forwarding.hpp"
#include "support/descriptors.hpp"
#include "support/endpoints.hpp"
#include "support/loop_fixture.hpp"
#include "support/scripted_ring.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

/// Every engine; rings on which threads take over, since they lack requests about files, or
/// everything; and a ring in plain memory.
std::vector<EngineCell> file_cells() {
  std::vector<EngineCell> cells = every_engine();
  for (const EngineCell& cell : older_rings())
    if (cell.without_name == "files" || cell.without_name == "any" ||
        cell.without_name == "defer-taskrun")
      cells.push_back(cell);
  for (const EngineCell& cell : scripted_rings()) cells.push_back(cell);
  return cells;
}

/// Notes which calls that may wait for a disk are made in the thread that made this.
class WaitingCalls final : public ForwardingKernel {
 public:
  using ForwardingKernel::ForwardingKernel;

  int here() const { return here_; }
  int elsewhere() const { return elsewhere_; }

  int openat(int directory, const char* path, int flags, mode_t mode) noexcept override {
    note();
    return ForwardingKernel::openat(directory, path, flags, mode);
  }
  ssize_t pread(int fd, void* buffer, std::size_t size, off_t offset) noexcept override {
    note();
    return ForwardingKernel::pread(fd, buffer, size, offset);
  }
  ssize_t pwrite(int fd, const void* buffer, std::size_t size, off_t offset) noexcept override {
    note();
    return ForwardingKernel::pwrite(fd, buffer, size, offset);
  }
  int fsync(int fd) noexcept override {
    note();
    return ForwardingKernel::fsync(fd);
  }
  int fdatasync(int fd) noexcept override {
    note();
    return ForwardingKernel::fdatasync(fd);
  }
  int close(int fd) noexcept override {
    if (fd == watched_) note();
    return ForwardingKernel::close(fd);
  }
  int fstat(int fd, struct stat* status) noexcept override {
    if (fd == watched_) note();
    return ForwardingKernel::fstat(fd, status);
  }
  void watch(int fd) { watched_ = fd; }

 private:
  void note() { ++(std::this_thread::get_id() == thread_ ? here_ : elsewhere_); }

  const std::thread::id thread_ = std::this_thread::get_id();
  std::atomic<int> here_{0};
  std::atomic<int> elsewhere_{0};
  std::atomic<int> watched_{-1};
};

/// Has rings that lack one of the requests about files, or do not say which they have.
class OldRings final : public ForwardingKernel {
 public:
  OldRings(Kernel& inner, int lacks) : ForwardingKernel(inner), lacks_(lacks) {}
  int io_uring_register(int ring, unsigned operation, void* argument,
                        unsigned count) noexcept override {
    if (operation == ring::register_probe && lacks_ < 0) return -EINVAL;
    const int result = ForwardingKernel::io_uring_register(ring, operation, argument, count);
    if (operation == ring::register_probe)
      static_cast<RingProbe*>(argument)->operations[lacks_].flags = 0;
    return result;
  }

 private:
  const int lacks_;
};

/// Performs work when the test says so.
class WorkersByHand final : public Workers {
 public:
  void submit(OffloadJob& job) noexcept override { jobs_.push_back(&job); }
  bool withdraw(OffloadJob& job) noexcept override { return std::erase(jobs_, &job) != 0; }
  void perform_one() {
    OffloadJob* const job = jobs_.front();
    jobs_.pop_front();
    job->perform();
  }
  [[nodiscard]] std::size_t waiting() const { return jobs_.size(); }

 private:
  std::deque<OffloadJob*> jobs_;
};

/// None if it has a value.
template <class T>
std::error_code error_of(const Result<T>& result) {
  return result ? std::error_code() : result.error();
}
std::string content_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void put_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

Task<> note(Task<Result<>> task, std::optional<std::error_code>* end) {
  const Result<> result = co_await std::move(task);
  *end = result ? std::error_code() : result.error();
}

Task<Result<>> read_one(File* file, std::span<char> into) {
  const Result<std::size_t> read = co_await file->read_at(into, 0);
  if (!read) co_return fail(read.error());
  co_return {};
}

class FileTest : public testing::TestWithParam<EngineCell> {
 protected:
  FileTest() { start(); }
  ~FileTest() override {
    loop.reset();
    engine.reset();
    EXPECT_EQ(frames_in_use(), 0);
  }
  /// A new loop, over `kernel`; of a scripted ring, with the script of `seed`.
  void start(Kernel& kernel, std::uint64_t seed = 0) {
    loop.reset();
    engine.reset();
    Kernel* under = &kernel;
    if (GetParam().scripted) under = &scripted.emplace(kernel, seed);
    engine = GetParam().make(*under).value();
    loop.emplace(*engine);
  }
  void start() { start(faults); }
  /// Whether the ring performs requests about files: else threads do.
  static bool by_ring() {
    return GetParam().kind->poller == nullptr && !GetParam().late &&
           (GetParam().ring_without & ring::files) == 0;
  }
  File open(const std::string& name, OpenMode mode = OpenMode::read) {
    return loop->run(File::open(name, mode)).value();
  }
  Result<std::size_t> read_at(File& file, std::span<char> into, std::uint64_t offset) {
    return loop->run(
        [](File* from, std::span<char> bytes, std::uint64_t at) -> Task<Result<std::size_t>> {
          co_return co_await from->read_at(bytes, at);
        }(&file, into, offset));
  }
  Result<std::size_t> write_at(File& file, std::string_view bytes, std::uint64_t offset) {
    return loop->run(
        [](File* to, std::string_view what, std::uint64_t at) -> Task<Result<std::size_t>> {
          co_return co_await to->write_at(what, at);
        }(&file, bytes, offset));
  }

  FaultKernel faults{real_kernel()};
  std::optional<ScriptedRing> scripted;
  std::unique_ptr<Engine> engine;
  std::optional<Loop> loop;
  ScratchDirectory directory;
  const std::string path = directory.path("file");
};
DUOLU_IN_CELLS(FileTest, file_cells());

constexpr OpenMode anew = OpenMode::write | OpenMode::create | OpenMode::truncate;
constexpr OpenMode both = OpenMode::read | OpenMode::write | OpenMode::create;

// --- FI1

Task<Result<>> use_all(std::string path, WaitingCalls* calls) {
  File file = co_await try_(File::open(path, both));
  calls->watch(file.fd());
  co_await try_(file.write_all_at("content", 0));
  co_await try_(file.sync());
  co_await try_(file.sync_data());
  char bytes[7];
  co_await try_(file.read_exact_at(bytes, 0));
  EXPECT_EQ(std::string(bytes, 7), "content");
  const FileStatus status = co_await try_(file.status());
  EXPECT_EQ(status.size, 7U);
  co_await try_(file.close());
  calls->watch(-1);
  co_return {};
}

TEST_P(FileTest, FI1_the_loop_makes_no_call_that_waits_for_a_disk) {
  WaitingCalls calls(real_kernel());
  start(calls);
  EXPECT_TRUE(loop->run(use_all(path, &calls)));
  // A scripted ring plays the kernel in the loop's thread.
  EXPECT_EQ(calls.here(), GetParam().scripted ? 7 : 0);
  EXPECT_EQ(calls.elsewhere(), by_ring() ? 0 : 7);
  start();
}

TEST_P(FileTest, FI1_threads_are_started_only_where_the_engine_performs_no_requests_about_files) {
  put_file(path, "content");
  faults.reset_counts();
  File file = open(path);
  char bytes[8];
  EXPECT_EQ(read_at(file, bytes, 0).value(), 7U);
  EXPECT_EQ(faults.calls(Call::pthread_create) == 0, by_ring());
  EXPECT_EQ(faults.calls(Call::pread), 1U);
}

TEST_P(FileTest, FI1_threads_take_over_where_a_ring_lacks_a_request) {
  if (!by_ring() || GetParam().scripted) GTEST_SKIP() << "no ring of the kernel";
  put_file(path, "content");
  for (const int lacks : {-1, int{ring::op_fsync}, int{ring::op_statx}, int{ring::op_write}}) {
    OldRings old(faults, lacks);
    start(old);
    faults.reset_counts();
    EXPECT_EQ(loop->run(read_file(path)), "content");
    EXPECT_GT(faults.calls(Call::pthread_create), 0U);
    start();
  }
}

TEST_P(FileTest, FI1_operations_of_one_file_are_awaited_at_the_same_time) {
  constexpr std::size_t count = 100;
  std::string content(count * 1000, ' ');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>('a' + i % 23);
  put_file(path, content);
  File file = open(path);
  std::string got(content.size(), '-');
  loop->run(with_scope([&](Scope& scope) -> Task<> {
    for (std::size_t i = 0; i < count; ++i)
      scope.spawn([](File* from, char* to, std::size_t at) -> Task<> {
        EXPECT_TRUE(co_await from->read_exact_at(std::span(to + at, 1000), at));
      }(&file, got.data(), i * 1000));
    co_return;
  }));
  EXPECT_EQ(got, content);
}

TEST_P(FileTest, FI1_EN16_more_than_a_ring_has_room_for) {
  constexpr std::size_t count = 3 * Ring::submissions;
  put_file(path, std::string(count, 'x'));
  File file = open(path);
  // The kernel takes nothing for a while: what the queue has no room for goes to threads.
  faults.fail(Call::io_uring_enter, 1, EAGAIN, 3);
  std::string got(count, '-');
  loop->run(with_scope([&](Scope& scope) -> Task<> {
    for (std::size_t i = 0; i < count; ++i)
      scope.spawn([](File* from, char* to, std::size_t at) -> Task<> {
        EXPECT_EQ(co_await from->read_at(to + at, 1, at), 1U);
      }(&file, got.data(), i));
    co_return;
  }));
  EXPECT_EQ(got, std::string(count, 'x'));
  EXPECT_EQ(faults.calls(Call::pread), count);
}

TEST_P(FileTest, FI1_LO12_a_task_says_that_it_waits_for_a_file) {
  if (by_ring()) GTEST_SKIP() << "a ring performs it at once";
  put_file(path, "content");
  File file = open(path);
  WorkersByHand workers;
  loop->set_workers(workers);
  char bytes[8];
  std::optional<std::error_code> end;
  std::vector<TaskReport> reports;
  loop->run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(note(read_one(&file, bytes), &end));
    reports = loop->tasks();
    workers.perform_one();
    co_return;
  }));
  EXPECT_TRUE(std::ranges::any_of(
      reports, [](const TaskReport& report) { return report.waits == "for a file"; }));
  EXPECT_EQ(end, std::error_code());
}

Task<Result<>> sync(File* file) { co_return co_await file->sync(); }

// --- FI2

TEST_P(FileTest, FI2_what_was_written_is_read_at_any_offset) {
  File file = open(path, both);
  EXPECT_EQ(write_at(file, "world", 6).value(), 5U);
  EXPECT_EQ(write_at(file, "hello ", 0).value(), 6U);
  EXPECT_EQ(content_of(path), "hello world");
  char bytes[16];
  EXPECT_EQ(read_at(file, bytes, 4).value(), 7U);
  EXPECT_EQ(std::string(bytes, 7), "o world");
  EXPECT_EQ(read_at(file, bytes, 11).value(), 0U);
  EXPECT_EQ(read_at(file, bytes, 99).value(), 0U);
  EXPECT_EQ(read_at(file, {}, 0).value(), 0U);
  EXPECT_EQ(write_at(file, {}, 0).value(), 0U);
}

TEST_P(FileTest, FI2_offsets_beyond_2_and_4_GiB) {
  File file = open(path, both);
  for (const std::uint64_t offset : {std::uint64_t{1} << 31U, std::uint64_t{5} << 30U}) {
    EXPECT_EQ(write_at(file, "far", offset).value(), 3U);
    char bytes[3];
    EXPECT_EQ(read_at(file, bytes, offset).value(), 3U);
    EXPECT_EQ(std::string(bytes, 3), "far");
    EXPECT_EQ(loop->run(file.status())->size, offset + 3);
  }
}

TEST_P(FileTest, FI2_an_offset_that_no_file_has_is_refused) {
  put_file(path, "content");
  File file = open(path);
  char bytes[8];
  // The last one means the file's own position to a ring.
  for (const std::uint64_t offset : {std::uint64_t{1} << 63U, ~std::uint64_t{0}})
    EXPECT_EQ(error_of(read_at(file, bytes, offset)), errno_code(EINVAL));
}

TEST_P(FileTest, FI2_short_transfers_are_continued) {
  std::string content(100'000, ' ');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>('a' + i % 23);
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    FaultKernel shortens(real_kernel(), seed);
    start(shortens, seed);
    shortens.set_rates({.short_transfers = 700});
    File file = open(path, both);
    EXPECT_TRUE(loop->run(file.write_all_at(content, 3)));
    EXPECT_EQ(content_of(path).substr(3), content);
    std::string got(content.size(), '-');
    EXPECT_TRUE(loop->run(file.read_exact_at(got, 3)));
    EXPECT_EQ(got, content);
    EXPECT_EQ(loop->run(read_file(path)).value().substr(3), content);
    EXPECT_GT(shortens.injected(), 0U);
    got.push_back('-');
    EXPECT_EQ(error_of(loop->run(file.read_exact_at(got, 3))), StreamError::ended);
    EXPECT_TRUE(loop->run(file.close()));
    start();
  }
}

TEST_P(FileTest, FI2_one_transfer_may_be_short) {
  FaultKernel shortens(real_kernel(), 7);
  start(shortens);
  shortens.set_rates({.short_transfers = 1000});
  File file = open(path, both);
  EXPECT_LT(write_at(file, "0123456789", 0).value(), 10U);
  put_file(path, "0123456789");
  char bytes[10];
  EXPECT_LT(read_at(file, bytes, 0).value(), 10U);
  EXPECT_TRUE(loop->run(file.close()));
  start();
}

TEST_P(FileTest, FI2_an_interrupted_call_is_made_again) {
  for (const Call call : {Call::openat, Call::pread, Call::pwrite, Call::fsync, Call::fstat})
    faults.fail(call, 1, EINTR);
  File file = open(path, both);
  EXPECT_EQ(write_at(file, "text", 0).value(), 4U);
  char bytes[4];
  EXPECT_EQ(read_at(file, bytes, 0).value(), 4U);
  EXPECT_TRUE(loop->run(sync(&file)));
  EXPECT_EQ(loop->run(file.status())->size, 4U);
}

TEST_P(FileTest, FI2_a_whole_file_up_to_a_limit) {
  put_file(path, "0123456789");
  EXPECT_EQ(loop->run(read_file(path)).value(), "0123456789");
  EXPECT_EQ(loop->run(read_file(path, 10)).value(), "0123456789");
  EXPECT_EQ(error_of(loop->run(read_file(path, 9))), StreamError::too_long);
  EXPECT_EQ(error_of(loop->run(read_file(path, 0))), StreamError::too_long);
  EXPECT_EQ(loop->run(read_file(path, SIZE_MAX)).value().size(), 10U);
  put_file(path, "");
  EXPECT_EQ(loop->run(read_file(path, 0)).value(), "");
  // Its size is 0 until it is read.
  const std::string status = loop->run(read_file("/proc/self/status")).value();
  EXPECT_NE(status.find("\nPid:\t" + std::to_string(::getpid()) + "\n"), std::string::npos);
  EXPECT_EQ(error_of(loop->run(read_file("/proc/self/status", 100))), StreamError::too_long);
  EXPECT_EQ(error_of(loop->run(read_file(directory.root() + "/none"))), errno_code(ENOENT));
}

TEST_P(FileTest, FI2_status_is_that_of_the_file) {
  put_file(path, "0123456789");
  ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
  timespec times[2]{};
  times[1] = {.tv_sec = 1'000'000'000, .tv_nsec = 123'456'789};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  File file = open(path);
  const FileStatus status = loop->run(file.status()).value();
  EXPECT_EQ(status.size, 10U);
  EXPECT_TRUE(S_ISREG(status.mode));
  EXPECT_EQ(status.mode & 07777U, 0640U);
  EXPECT_EQ(status.modified.time_since_epoch(), 1'000'000'000s + 123'456'789ns);
}

TEST_P(FileTest, FI2_modes_of_opening) {
  EXPECT_EQ(error_of(loop->run(File::open(path))), errno_code(ENOENT));
  EXPECT_EQ(loop->explanation(errno_code(ENOENT)),
            "cannot open " + path + ": " + errno_code(ENOENT).message());
  EXPECT_EQ(error_of(loop->run(File::open(path, OpenMode::write))), errno_code(ENOENT));
  const mode_t before = ::umask(022);
  File file = loop->run(File::open(path, OpenMode::write | OpenMode::exclusive, 0666)).value();
  ::umask(before);
  EXPECT_EQ(loop->run(file.status())->mode & 07777U, 0644U);
  EXPECT_EQ(error_of(loop->run(File::open(path, OpenMode::write | OpenMode::exclusive))),
            errno_code(EEXIST));
  EXPECT_EQ(write_at(file, "0123456789", 0).value(), 10U);
  char bytes[4];
  EXPECT_EQ(error_of(read_at(file, bytes, 0)), errno_code(EBADF));  // not opened for reading
  File reads = open(path);
  EXPECT_EQ(error_of(write_at(reads, "x", 0)), errno_code(EBADF));
  File kept = open(path, OpenMode::write | OpenMode::create);
  EXPECT_EQ(content_of(path).size(), 10U);
  File cut = open(path, anew);
  EXPECT_EQ(content_of(path).size(), 0U);
  EXPECT_NE(::fcntl(cut.fd(), F_GETFD) & FD_CLOEXEC, 0);
}

// --- FI3

TEST_P(FileTest, FI3_cancelled_before_it_does_nothing) {
  put_file(path, "content");
  File file = open(path);
  faults.reset_counts();
  char bytes[8];
  std::optional<std::error_code> end;
  Task<> task = note(read_one(&file, bytes), &end);
  Chain chain;
  chain.cancel();
  loop->start(task, chain);
  EXPECT_TRUE(task.promise().done());
  EXPECT_EQ(end, errno_code(ECANCELED));
  EXPECT_EQ(faults.calls(Call::pread), 0U);
}

TEST_P(FileTest, FI3_cancelled_at_any_time_it_ends_with_its_result_or_not_at_all) {
  put_file(path, "content");
  File file = open(path);
  for (int turns = 0; turns < 4; ++turns) {
    char bytes[8] = {};
    std::optional<std::error_code> end;
    Task<> task = note(read_one(&file, bytes), &end);
    Chain chain;
    loop->start(task, chain);
    for (int i = 0; i < turns && !task.promise().done(); ++i)
      EXPECT_TRUE(loop->turn(after(real_kernel().now(), 1ms)));
    chain.cancel();
    while (!task.promise().done()) EXPECT_TRUE(loop->turn(never));
    ASSERT_TRUE(end);
    if (*end)
      EXPECT_EQ(*end, errno_code(ECANCELED));
    else
      EXPECT_STREQ(bytes, "content");
  }
}

TEST_P(FileTest, FI3_work_that_has_not_begun_never_begins_and_what_has_begun_is_waited_for) {
  if (by_ring()) GTEST_SKIP() << "no threads take part";
  put_file(path, "content");
  File file = open(path);
  WorkersByHand workers;
  loop->set_workers(workers);
  faults.reset_counts();
  for (const bool begins : {false, true}) {
    char bytes[8] = {};
    std::optional<std::error_code> end;
    Task<> task = note(read_one(&file, bytes), &end);
    Chain chain;
    loop->start(task, chain);
    ASSERT_EQ(workers.waiting(), 1U);
    if (begins) workers.perform_one();
    chain.cancel();
    EXPECT_EQ(workers.waiting(), 0U);
    while (!task.promise().done()) EXPECT_TRUE(loop->turn(never));
    EXPECT_EQ(end, begins ? std::error_code() : errno_code(ECANCELED));
    EXPECT_EQ(faults.calls(Call::pread), begins ? 1U : 0U);
  }
}

TEST_P(FileTest, FI3_a_scope_ends_when_its_reads_have) {
  put_file(path, std::string(100'000, 'x'));
  File file = open(path);
  std::vector<std::string> buffers(20, std::string(5000, '-'));
  loop->run(with_scope([&](Scope& scope) -> Task<> {
    for (std::string& buffer : buffers)
      scope.spawn([](File* from, std::string* into) -> Task<> {
        for (;;) {
          const Result<std::size_t> read = co_await from->read_at(*into, 0);
          if (!read) co_return;
        }
      }(&file, &buffer));
    co_await sleep(1ms);
    scope.cancel();
  }));
  for (const std::string& buffer : buffers)
    EXPECT_TRUE(buffer == std::string(5000, 'x') || buffer == std::string(5000, '-'));
}

Task<Result<>> copy(std::string from, std::string to) {
  File source = co_await try_(File::open(from));
  File target = co_await try_(File::open(to, anew));
  std::string bytes(3000, '-');
  for (std::uint64_t offset = 0;;) {
    const std::size_t got = co_await try_(source.read_at(bytes, offset));
    if (got == 0) break;
    co_await try_(target.write_all_at(std::string_view(bytes).substr(0, got), offset));
    offset += got;
  }
  co_await try_(target.sync_data());
  co_await try_(source.close());
  co_return co_await target.close();
}

TEST_P(FileTest, FI3_FI4_FI5_a_copy_that_is_cancelled_after_any_turn_leaves_nothing_open) {
  const std::string content(10'000, 'c');
  put_file(path, content);
  const std::string target = directory.path("target");
  for (std::uint64_t seed = 0; seed <= 4; ++seed) {
    FaultKernel kernel(real_kernel(), seed);
    if (seed > 0) kernel.set_rates({.short_transfers = 300, .eintr = 200});
    int unharmed = 0;
    for (int turns = -1; turns < 500 && unharmed < 2; ++turns) {
      start(kernel, seed);
      if (!GetParam().scripted) (void)loop->workers();
      const std::set<int> before = open_descriptors();
      std::optional<std::error_code> end;
      {
        Task<> task = note(copy(path, target), &end);
        Chain chain;
        if (turns < 0) chain.cancel();
        loop->start(task, chain);
        for (int i = 0; i < turns && !task.promise().done(); ++i)
          EXPECT_TRUE(loop->turn(after(real_kernel().now(), 5ms)));
        unharmed = task.promise().done() && turns >= 0 ? unharmed + 1 : 0;
        chain.cancel();
        while (!task.promise().done()) EXPECT_TRUE(loop->turn(never));
      }
      ASSERT_TRUE(end);
      EXPECT_TRUE(!*end || *end == errno_code(ECANCELED)) << end->message();
      EXPECT_TRUE(*end || content_of(target) == content);
      EXPECT_EQ(open_descriptors(), before);
    }
    EXPECT_EQ(unharmed, 2);
    start();
  }
}

TEST_P(FileTest, FI3_a_deadline_ends_an_operation_or_comes_too_late) {
  put_file(path, "content");
  File file = open(path);
  char bytes[8];
  loop->run([](Loop* on, File* from, std::span<char> into) -> Task<> {
    const Result<std::size_t> read = co_await within(*on, 0ms, from->read_at(into, 0));
    EXPECT_TRUE(read ? *read == 7 : read.error() == errno_code(ETIMEDOUT)) << read.error();
  }(&*loop, &file, bytes));
}

// --- FI4

TEST_P(FileTest, FI4_close_returns_the_error_and_closes_all_the_same) {
  File file = open(path, anew);
  const int fd = file.fd();
  faults.fail(Call::close, 1, EIO);
  EXPECT_EQ(error_of(loop->run(file.close())), errno_code(EIO));
  EXPECT_FALSE(file);
  EXPECT_FALSE(is_open(fd));
  EXPECT_EQ(error_of(write_at(file, "x", 0)), errno_code(EBADF));
}

TEST_P(FileTest, FI4_close_closes_also_if_it_is_cancelled_or_cannot_begin) {
  std::optional<std::error_code> end;
  {
    File file = open(path, anew);
    const int fd = file.fd();
    Task<> task = note(file.close(), &end);
    Chain chain;
    chain.cancel();
    loop->start(task, chain);
    while (!task.promise().done()) EXPECT_TRUE(loop->turn(never));
    EXPECT_EQ(end, errno_code(ECANCELED));
    EXPECT_FALSE(is_open(fd));
  }
  // A thread cannot be started.
  start();
  File file = File::adopt(faults, Fd(faults, ::open(path.c_str(), O_RDONLY | O_CLOEXEC))).value();
  const int fd = file.fd();
  faults.fail_always(Call::pthread_create, EAGAIN);
  const Result<> closed = loop->run(file.close());
  EXPECT_EQ(closed.has_value(), by_ring());
  EXPECT_FALSE(is_open(fd));
}

TEST_P(FileTest, FI4_the_destructor_closes) {
  int fd = -1;
  {
    File file = open(path, anew);
    fd = file.fd();
    File other = std::move(file);
    EXPECT_TRUE(is_open(fd));
    file = std::move(other);
    EXPECT_TRUE(is_open(fd));
  }
  EXPECT_FALSE(is_open(fd));
}

// --- FI5

using FileDeathTest = FileTest;
DUOLU_IN_CELLS(FileDeathTest, every_engine());

TEST_P(FileDeathTest, FI5_a_file_is_not_closed_moved_or_destroyed_while_it_is_read) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  put_file(path, "content");
  const auto while_it_is_read = [&](auto misuse) {
    std::optional<File> file = open(path);
    char bytes[8];
    std::optional<std::error_code> end;
    Task<> task = note(read_one(&*file, bytes), &end);
    Chain chain;
    loop->start(task, chain);
    misuse(file);
  };
  const char* const named = "while a task waits for it \\(FI5\\)";
  EXPECT_DEATH(while_it_is_read([](auto& file) { file.reset(); }), named);
  EXPECT_DEATH(while_it_is_read([](auto& file) { const File other = std::move(*file); }), named);
  EXPECT_DEATH(while_it_is_read([](auto& file) { *file = File(); }), named);
  EXPECT_DEATH(while_it_is_read([&](auto& file) { (void)loop->run(file->close()); }), named);
}

Task<Result<>> fail_to_read(File* file) {
  char bytes[8];
  co_await try_(file->read_at(bytes, 0));
  co_return {};
}

TEST_P(FileTest, FI5_a_task_that_an_error_has_ended_waits_for_nothing) {
  put_file(path, "content");
  loop->run([](FaultKernel* kernel, std::string name) -> Task<> {
    File file = (co_await File::open(name)).value();
    kernel->fail(Call::pread, 1, EIO);
    Task<Result<>> reading = fail_to_read(&file);
    const Result<> read = co_await std::move(reading);
    EXPECT_EQ(error_of(read), errno_code(EIO));
    EXPECT_TRUE(co_await file.close());
  }(&faults, path));
}

// --- FI6

TEST_P(FileTest, FI6_what_has_no_offsets_is_refused_without_waiting) {
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const std::set<int> before = open_descriptors();
  EXPECT_EQ(error_of(loop->run(File::open(path))), errno_code(ESPIPE));
  // open(2): there is no reader.
  EXPECT_EQ(error_of(loop->run(File::open(path, OpenMode::write))), errno_code(ENXIO));
  EXPECT_EQ(error_of(loop->run(File::open(path, both))), errno_code(ESPIPE));
  Pair pair = unix_pair();
  const int number = pair.a.get();
  EXPECT_EQ(error_of(File::adopt(faults, std::move(pair.a))), errno_code(ESPIPE));
  EXPECT_FALSE(is_open(number));
  pair.b.reset();
  EXPECT_EQ(error_of(File::adopt(faults, Fd())), errno_code(EBADF));
  EXPECT_EQ(open_descriptors(), before);
}

TEST_P(FileTest, FI6_a_directory_is_synced_but_not_read) {
  File file = open(directory.root());
  EXPECT_TRUE(loop->run(sync(&file)));
  EXPECT_TRUE(S_ISDIR(loop->run(file.status())->mode));
  char bytes[8];
  EXPECT_EQ(error_of(read_at(file, bytes, 0)), errno_code(EISDIR));
  EXPECT_EQ(error_of(loop->run(File::open(directory.root(), OpenMode::write))), errno_code(EISDIR));
}

TEST_P(FileTest, FI6_an_adopted_file_is_blocking) {
  Fd memory(faults, ::memfd_create("test", MFD_CLOEXEC));
  ASSERT_EQ(::fcntl(memory.get(), F_SETFL, O_NONBLOCK), 0);
  File file = File::adopt(faults, std::move(memory)).value();
  EXPECT_EQ(::fcntl(file.fd(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(write_at(file, "text", 0).value(), 4U);
  File opened = open(path, anew);
  EXPECT_EQ(::fcntl(opened.fd(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_P(FileTest, FI6_errors_of_adopting_close_it) {
  for (const Call call : {Call::lseek, Call::fcntl}) {
    const int fd = ::memfd_create("test", MFD_CLOEXEC);
    faults.fail(call, 1, EIO);
    EXPECT_EQ(error_of(File::adopt(faults, Fd(faults, fd))), errno_code(EIO));
    EXPECT_FALSE(is_open(fd));
  }
}

// --- FI7

TEST_P(FileTest, FI7_appends_whatever_the_offset) {
  put_file(path, "first ");
  File file = open(path, OpenMode::append);
  EXPECT_EQ(write_at(file, "second ", 0).value(), 7U);
  EXPECT_EQ(write_at(file, "third", 2).value(), 5U);
  EXPECT_EQ(content_of(path), "first second third");
}

// --- FI8

TEST_P(FileTest, FI8_errors_are_those_of_the_call) {
  faults.fail(Call::openat, 1, EMFILE);
  EXPECT_EQ(error_of(loop->run(File::open(path, anew))), errno_code(EMFILE));
  EXPECT_FALSE(std::ifstream(path).is_open());
  File file = open(path, both);
  faults.fail(Call::pwrite, 1, ENOSPC);
  EXPECT_EQ(error_of(write_at(file, "text", 0)), errno_code(ENOSPC));
  EXPECT_EQ(content_of(path), "");
  faults.fail(Call::pread, 1, EIO);
  char bytes[4];
  EXPECT_EQ(error_of(read_at(file, bytes, 0)), errno_code(EIO));
  faults.fail(Call::fsync, 1, EIO);
  faults.fail(Call::fdatasync, 1, EDQUOT);
  loop->run([](File* of) -> Task<> {
    const Result<> synced = co_await of->sync();
    EXPECT_EQ(error_of(synced), errno_code(EIO));
    const Result<> data = co_await of->sync_data();
    EXPECT_EQ(error_of(data), errno_code(EDQUOT));
  }(&file));
  faults.fail(Call::fstat, 1, EIO);
  EXPECT_EQ(error_of(loop->run(file.status())), errno_code(EIO));
  // A write that fails after a part: the part stays.
  const std::string text(10'000, 't');
  FaultKernel shortens(real_kernel(), 3);
  start(shortens);
  shortens.set_rates({.short_transfers = 1000});
  shortens.fail(Call::pwrite, 3, ENOSPC);
  EXPECT_EQ(error_of(loop->run(file.write_all_at(text, 0))), errno_code(ENOSPC));
  const std::string written = content_of(path);
  EXPECT_GT(written.size(), 0U);
  EXPECT_LT(written.size(), text.size());
  EXPECT_EQ(text.substr(0, written.size()), written);
  start();
}

TEST_P(FileTest, FI8_a_limit_of_the_size_of_files) {
  struct sigaction ignore{};
  struct sigaction before{};
  ignore.sa_handler = SIG_IGN;
  ASSERT_EQ(::sigaction(SIGXFSZ, &ignore, &before), 0);
  File file = open(path, anew);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{.rlim_cur = 1000, .rlim_max = limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Result<> written = loop->run(file.write_all_at(std::string(3000, 'x'), 0));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  ASSERT_EQ(::sigaction(SIGXFSZ, &before, nullptr), 0);
  EXPECT_EQ(error_of(written), errno_code(EFBIG));
  EXPECT_EQ(content_of(path).size(), 1000U);
}

TEST_P(FileTest, FI8_without_a_thread_nothing_is_done) {
  put_file(path, "content");
  File file = File::adopt(faults, Fd(faults, ::open(path.c_str(), O_RDWR | O_CLOEXEC))).value();
  faults.fail_always(Call::pthread_create, EAGAIN);
  faults.reset_counts();
  char bytes[8];
  const Result<std::size_t> read = read_at(file, bytes, 0);
  EXPECT_EQ(faults.calls(Call::pread), by_ring() ? 1U : 0U);
  if (by_ring())
    EXPECT_EQ(read, 7U);
  else
    EXPECT_EQ(error_of(read), errno_code(EAGAIN));
  faults.clear();
  EXPECT_EQ(read_at(file, bytes, 0), 7U);
}

}  // namespace
}  // namespace duolu::test
