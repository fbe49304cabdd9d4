#include "duolu/loop/loop.hpp"

#include <algorithm>
#include <exception>
#include <thread>
#include <utility>

#include "duolu/engine/engines.hpp"
#include "duolu/loop/offload.hpp"
#include "duolu/task/waiting.hpp"
#include "watchdog.hpp"

namespace duolu {

static_assert(std::atomic<bool>::is_always_lock_free);  // for stop() in a signal handler

struct Loop::Watch {
  Duration threshold{};
  Function<void(const Stall&)> report{};
  Stall current{};       ///< What runs.
  Instant since{};       ///< When it was resumed.
  bool holding = false;  ///< A task or work runs that was resumed since the watch began.
  bool reporting = false;
  std::unique_ptr<detail::Watchdog> dog{};
};

namespace {

/// Sets a flag for as long as it lives.
class Turning {
 public:
  explicit Turning(bool& flag) noexcept : flag_(flag) { flag_ = true; }
  Turning(const Turning&) = delete;
  Turning& operator=(const Turning&) = delete;
  ~Turning() { flag_ = false; }

 private:
  bool& flag_;
};

}  // namespace

Loop::Loop(Engine& engine) noexcept : engine_(engine), owner_(engine.kernel().getpid()) {}

Loop::Loop(std::unique_ptr<Engine> engine) noexcept
    : owned_(std::move(engine)), engine_(*owned_), owner_(engine_.kernel().getpid()) {}

Result<std::unique_ptr<Loop>> make_loop(const LoopOptions& options) {
  Kernel& kernel = options.kernel != nullptr ? *options.kernel : real_kernel();
  Result<std::unique_ptr<Engine>> engine = make_engine(kernel, options.backend, options.engine);
  if (!engine) return fail(engine.error());
  return std::make_unique<Loop>(*std::move(engine));
}

Result<Workers*> Loop::workers() {
  if (workers_ == nullptr) {
    const int processors = static_cast<int>(std::thread::hardware_concurrency());
    Result<std::unique_ptr<OffloadPool>> started =
        OffloadPool::start(kernel(), std::clamp(processors, 4, 16));
    if (!started) return fail(started.error());
    pool_ = *std::move(started);
    workers_ = pool_.get();
  }
  return workers_;
}

Loop::~Loop() {
  if (kernel().getpid() != owner_) {
    // Another thread of the parent may have held the lock at the time of the fork.
    work_.clear();
    posted_.clear();
    return;
  }
  // Destructors of what the work holds may post again.
  for (;;) {
    work_.clear();
    const std::scoped_lock guard(mutex_);
    if (posted_.empty()) return;
    work_.swap(posted_);
  }
}

void Loop::run_until_done(detail::TaskPromise& task, Chain& chain) {
  if (running_ != nullptr) check_failed("Loop::run() is called in a task of the same Loop");
  prepare_for_exit();
  running_ = &chain;
  std::exception_ptr thrown;
  if (stop_.load(std::memory_order_acquire)) chain.cancel();
  chain.run_in(&ready_);
  if (watch_ != nullptr) {
    watch_->since = kernel().now();
    note_time();
  }
  detail::enter_first(task, chain);
  ready_.begin_turn();
  begin_running(Stall::Cause::start, &task);
  task.run();
  end_running();
  while (!task.done()) {
    try {
      if (const Result<> turned = turn(never); !turned) ride_out(turned.error());
    } catch (...) {  // from posted work: the task must end before it may be destroyed
      if (!thrown) thrown = std::current_exception();
      chain.cancel();
    }
  }
  running_ = nullptr;
  stop_.store(false, std::memory_order_relaxed);
  if (thrown) std::rethrow_exception(thrown);
}

void Loop::ride_out(std::error_code error) {
  if (error == std::errc::interrupted) return;
  if (error == std::errc::bad_file_descriptor)
    check_failed("a descriptor of the Loop itself was closed by other code of this program");
  const bool passes =
      error == std::errc::not_enough_memory || error == std::errc::no_space_on_device ||
      error == std::errc::too_many_files_open ||
      error == std::errc::too_many_files_open_in_system ||
      // poll(2) with an RLIMIT_NOFILE of 0, which other processes may set: see prlimit(2)
      error == std::errc::invalid_argument;
  if (!passes)
    check_failed(
        "a Loop cannot wait: the kernel gave an error that no later attempt overcomes; "
        "Loop::turn() returns it");
  (void)duolu::sleep_until(kernel(), after(kernel().now(), pause_after_failure));
}

Result<> Loop::turn(Instant deadline) {
  if (turning_) check_failed("a Loop waits within one of its own turns (LO3)");
  const Turning guard(turning_);
  const Instant until = ready_.empty() ? std::min(deadline, timers_.next()) : immediately;
  const Result<bool> woken = engine_.wait(until);
  if (!woken) return fail(woken.error());
  ++statistics_.turns;
  ready_.begin_turn();
  if (watch_ == nullptr) [[likely]]
    work<false>(*woken);
  else
    work_watched(*woken);
  return {};
}

template <bool watched>
void Loop::work(bool woken) {
  // Requests that finish while tasks run are handled in the next turn.
  Op* const finished = engine_.take_finished();
  const std::uint64_t due = run_timers<watched>();
  if (due == 0 && finished == nullptr && !woken) ++statistics_.idle;
  run_finished<watched>(finished);
  if (woken) run_woken<watched>();
  run_ready<watched>();
}

template <bool watched>
std::uint64_t Loop::run_timers() {
  if (timers_.next() == never) return 0;
  const Instant now = watched ? watch_->since : kernel().now();
  // Collects all that are due first: a resumed task may arm one that is due at once, and that one
  // has to wait for the next turn.
  std::uint64_t due = 0;
  Alarm* first = nullptr;
  Alarm** end = &first;
  while (Timer* const one = timers_.take_due(now)) {
    auto* const alarm = static_cast<Alarm*>(one);
    alarm->next = nullptr;
    *end = alarm;
    end = &alarm->next;
    ++due;
  }
  statistics_.timers += due;
  while (first != nullptr) {
    Alarm& alarm = *std::exchange(first, first->next);
    if constexpr (watched) begin_running(Stall::Cause::deadline, alarm.task);
    alarm.ring(alarm);
    if constexpr (watched) end_running();
  }
  return due;
}

template <bool watched>
void Loop::run_finished(Op* finished) {
  std::uint64_t count = 0;
  // [finished]
  for (; finished != nullptr; ++count) {
    Op& op = *std::exchange(finished, finished->next);
    op.state = Op::State::idle;
    auto& task = *static_cast<detail::TaskPromise*>(op.waiter);
    if constexpr (watched) begin_running(Stall::Cause::request, &task);
    if (op.result < 0 && op.propagates) [[unlikely]]
      task.end_with(errno_code(-op.result));
    else
      task.resume();
    if constexpr (watched) end_running();
  }
  // [/finished]
  statistics_.finished += count;
}

template <bool watched>
void Loop::run_woken() {
  ++statistics_.woken;
  if (running_ != nullptr && stop_.load(std::memory_order_acquire)) running_->cancel();
  run_wake_waiters<watched>();
  run_posted<watched>();
}

template <bool watched>
void Loop::run_wake_waiters() {
  // Collects all that are ready first: a resumed task may wait again at once, or change what others
  // wait for.
  detail::WakeWaiter* ready = nullptr;
  for (detail::WakeWaiter** link = &woken_; *link != nullptr;) {
    detail::WakeWaiter* const one = *link;
    if (one->ready(*one)) {
      *link = one->next;
      one->next = std::exchange(ready, one);  // reverses the order: the earliest is first
    } else {
      link = &one->next;
    }
  }
  while (ready != nullptr) {
    const detail::WakeWaiter& one = *std::exchange(ready, ready->next);
    if constexpr (watched) begin_running(Stall::Cause::wakeup, one.task);
    one.task->resume();
    if constexpr (watched) end_running();
  }
}

template <bool watched>
void Loop::run_posted() {
  detail::WaitEntry* arrived = nullptr;
  const bool left = called_ < work_.size();  // after an exception: these are called first
  {
    const std::scoped_lock guard(mutex_);
    arrived = std::exchange(first_arrived_, nullptr);
    if (!left) work_.swap(posted_);
  }
  while (arrived != nullptr) ready_.push(*std::exchange(arrived, arrived->next));
  call_work<watched>();
  if (!left) return;
  {
    const std::scoped_lock guard(mutex_);
    work_.swap(posted_);
  }
  call_work<watched>();
}

template <bool watched>
void Loop::call_work() {
  try {
    while (called_ < work_.size()) {
      Posted one = std::move(work_[called_++]);
      ++statistics_.posts;
      if constexpr (watched) begin_running(Stall::Cause::post, nullptr, one.where);
      one.work();
      if constexpr (watched) end_running();
    }
  } catch (...) {
    if constexpr (watched) end_running();
    if (called_ == work_.size()) {  // the last one threw
      called_ = 0;
      work_.clear();
    }
    engine_.wake();  // for the rest
    throw;
  }
  called_ = 0;
  if (work_.capacity() <= most_posts_kept)
    work_.clear();
  else
    work_ = std::vector<Posted>();
}

template <bool watched>
void Loop::run_ready() {
  if (ready_.empty()) return;
  if constexpr (!watched) return ready_.run(most_woken);
  for (int i = 0; i < most_woken && !ready_.empty(); ++i) {
    begin_running(Stall::Cause::task, ready_.front().task);
    ready_.run(1);
    end_running();
  }
}

// Both wake under the lock: once the loop's thread has seen what arrived, it may destroy the loop.

void Loop::arrive(detail::WaitEntry& one) noexcept {
  const std::scoped_lock guard(mutex_);
  one.next = nullptr;
  (first_arrived_ == nullptr ? first_arrived_ : last_arrived_->next) = &one;
  last_arrived_ = &one;
  engine_.wake();
}

void Loop::post(Function<void()> work, std::source_location where) {
  const std::scoped_lock guard(mutex_);
  posted_.push_back({std::move(work), where});
  if (posted_.size() == 1) engine_.wake();  // once for all posts until the loop takes them
}

const WaitKind Loop::Sleep::Awaiter::kind = {
    [](Chain&, void* self) noexcept {
      auto& sleep = *static_cast<Awaiter*>(self);
      // An alarm that is not armed is due already, and its task about to be resumed.
      if (sleep.alarm_.armed()) sleep.loop_.arm(sleep.alarm_, immediately);
    },
    [](const Chain&, const void* self, Waiting& waiting) {
      const auto& sleep = *static_cast<const Awaiter*>(self);
      waiting.task = sleep.alarm_.task;
      waiting.what = sleep.until_ == never ? "for nothing but to be cancelled" : "for a time";
      waiting.until = sleep.until_;
    }};

const WaitKind SleepFor::Awaiter::kind = {
    [](Chain&, void* self) noexcept {
      auto& sleep = *static_cast<Awaiter*>(self);
      if (sleep.alarm_.armed()) sleep.loop_.arm(sleep.alarm_, immediately);
    },
    [](const Chain&, const void* self, Waiting& waiting) {
      const auto& sleep = *static_cast<const Awaiter*>(self);
      waiting.task = sleep.alarm_.task;
      waiting.what = sleep.until_ == never ? "for nothing but to be cancelled" : "for a time";
      waiting.until = sleep.until_;
    }};

// --- the stall watch

void Loop::watch_stalls(AnyDuration threshold, Function<void(const Stall&)> report) {
  if (watch_ != nullptr && watch_->reporting)
    check_failed("watch_stalls() is called in the report of a stall");
  watch_ = nullptr;
  ready_.time = 0;
  if (!report) return;
  watch_ = std::make_unique<Watch>();
  watch_->threshold = threshold;
  watch_->report = std::move(report);
  watch_->since = kernel().now();
  if (watched_since_ == never) watched_since_ = watch_->since;
}

Result<> Loop::start_watchdog(Function<void(const Stall&)> report) {
  if (watch_ == nullptr) check_failed("start_watchdog() needs watch_stalls() first");
  auto dog = detail::Watchdog::start(kernel(), watch_->threshold, std::move(report));
  if (!dog) return fail(dog.error());
  watch_->dog = std::move(*dog);
  if (watch_->holding) watch_->dog->begin_running(watch_->current, watch_->since);  // the caller
  return {};
}

[[gnu::noinline]] void Loop::work_watched(bool woken) {
  watch_->since = kernel().now();
  note_time();
  const Duration before = statistics_.busy;
  work<true>(woken);
  statistics_.longest_turn = std::max(statistics_.longest_turn, statistics_.busy - before);
}

/// Starts at 1, and 32 bits last for thirteen years.
void Loop::note_time() {
  ready_.time = static_cast<std::uint32_t>((watch_->since - watched_since_) / time_unit + 1);
}

[[gnu::noinline]] void Loop::begin_running(Stall::Cause cause, detail::TaskPromise* task,
                                           const std::source_location& post) {
  if (watch_ == nullptr) return;  // the watch may have been ended in this turn
  watch_->holding = true;
  watch_->current = {.cause = cause};
  if (task != nullptr) {
    watch_->current.origin = task->chain()->origin();
    watch_->current.from = task->where();
    detail::TaskPromise* first = task;
    while (detail::TaskPromise* const above = first->awaited_by()) first = above;
    first->note_time(ready_.time);
  } else {
    watch_->current.origin.where = post;
  }
  if (watch_->dog != nullptr) watch_->dog->begin_running(watch_->current, watch_->since);
}

[[gnu::noinline]] void Loop::end_running() {
  if (watch_ == nullptr) return;
  if (!std::exchange(watch_->holding, false)) {  // the watch began while the task ran
    watch_->since = kernel().now();
    return;
  }
  if (watch_->dog != nullptr) watch_->dog->end_running();
  const Instant now = kernel().now();
  watch_->current.held = now - std::exchange(watch_->since, now);
  statistics_.busy += watch_->current.held;
  if (watch_->current.held < watch_->threshold) return;
  watch_->reporting = true;
  watch_->report(watch_->current);
  watch_->reporting = false;
  watch_->since = kernel().now();
}

const char* to_string(Stall::Cause cause) noexcept {
  switch (cause) {
    case Stall::Cause::start: return "start";
    case Stall::Cause::deadline: return "deadline";
    case Stall::Cause::request: return "request";
    case Stall::Cause::wakeup: return "wakeup";
    case Stall::Cause::task: return "task";
    case Stall::Cause::post: return "post";
  }
  return "unknown";
}

}  // namespace duolu
