// With a pool, a job is in the pool's queue, then on one of its threads, then passed to its loop
// (Loop::arrive), then ready. `begun_` is guarded by the pool's lock; once it is set, the job
// belongs to the pool's thread until it arrives. Only the loop's thread wakes and cancels it.

#include "duolu/loop/offload.hpp"

#include "duolu/base/check.hpp"

namespace duolu {
bool OffloadJob::begin() {
  loop_ = &detail::loop_of(*chain);
  if (workers_ != nullptr) return false;
  const Result<Workers*> own = loop_->workers();
  if (!own) {
    fail_with(own.error());
    return true;
  }
  workers_ = *own;
  return false;
}

void OffloadJob::park() noexcept { workers_->submit(*this); }

void OffloadJob::abandon() noexcept {
  if (!workers_->withdraw(*this)) return stop_(*this);  // harmless if it is over already
  fail_with(errno_code(ECANCELED));
  wake();
}

void OffloadJob::perform() noexcept {
  run_(*this);
  if (exiting()) return;  // the loop may be gone (LO13)
  loop_->arrive(*this);
}

Result<std::unique_ptr<OffloadPool>> OffloadPool::start(Kernel& kernel, int threads) {
  DUOLU_CHECK(threads > 0);
  std::unique_ptr<OffloadPool> pool(new OffloadPool(kernel));
  pool->threads_.reserve(static_cast<std::size_t>(threads));
  for (int i = 0; i < threads; ++i) {
    pthread_t thread{};
    const int error = kernel.pthread_create(&thread, &OffloadPool::serve, pool.get());
    if (error == 0) {
      pool->threads_.push_back(thread);
    } else if (i == 0) {
      return fail(-error);
    } else {
      break;
    }
  }
  return pool;
}

OffloadPool::~OffloadPool() {
  // In a forked child the threads do not exist, one may have held the lock, and glibc's
  // pthread_cond_destroy waits for threads that it believes to be waiting.
  if (kernel_.getpid() != owner_) return;
  Shared& shared = shared_.value;
  {
    const std::scoped_lock guard(shared.mutex);
    if (!shared.queue.empty() && !exiting())
      check_failed("an OffloadPool is destroyed before the work of its queue has begun (OF6)");
    shared.ending = true;
  }
  shared.work_or_end.notify_all();
  for (const pthread_t thread : threads_) (void)kernel_.pthread_join(thread);
  shared.~Shared();
}

void* OffloadPool::serve(void* pool) noexcept {
  while (OffloadJob* const job = static_cast<OffloadPool*>(pool)->next_job()) {
    job->perform();
    if (exiting()) return nullptr;  // the pool, too, may be gone (LO13)
  }
  return nullptr;
}

OffloadJob* OffloadPool::next_job() {
  Shared& shared = shared_.value;
  std::unique_lock lock(shared.mutex);
  shared.work_or_end.wait(lock, [&] { return shared.ending || !shared.queue.empty(); });
  if (shared.ending) return nullptr;
  auto& job = static_cast<OffloadJob&>(shared.queue.front());
  shared.queue.remove(job);
  job.begun_ = true;
  return &job;
}

void OffloadPool::submit(OffloadJob& job) noexcept {
  if (kernel_.getpid() != owner_)
    check_failed("an OffloadPool is used in a forked child, which has none of its threads (OF7)");
  {
    const std::scoped_lock guard(shared_.value.mutex);
    shared_.value.queue.push(job);
  }
  shared_.value.work_or_end.notify_one();
}

bool OffloadPool::withdraw(OffloadJob& job) noexcept {
  const std::scoped_lock guard(shared_.value.mutex);
  if (job.begun_) return false;
  shared_.value.queue.remove(job);
  return true;
}

}  // namespace duolu
