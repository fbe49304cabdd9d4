// A job is in the pool's queue, then on one of its threads, then on its way to its loop
// (Loop::arrive), then ready. Whether it has begun is known under the pool's lock; from then on
// until it arrives it belongs to the thread. The loop's thread alone wakes and cancels it.

#include "duolu/loop/offload.hpp"

#include "duolu/base/check.hpp"

namespace duolu {
namespace detail {

bool OffloadJob::begin() {
  loop = &loop_of(*strand);
  if (pool != nullptr) return false;
  const Result<OffloadPool*> own = loop->pool();
  if (!own) {
    fail_with(own.error());
    return true;
  }
  pool = *own;
  return false;
}

void OffloadJob::park() noexcept { pool->submit(*this); }

void OffloadJob::abandon() noexcept {
  if (!pool->withdraw(*this)) return stop(*this);  // no harm if it is over already
  fail_with(errno_code(ECANCELED));
  wake();
}

}  // namespace detail

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
  // In a forked child the threads are not there to be joined, one may have held the lock, and
  // glibc's pthread_cond_destroy waits for those that it believes to be waiting.
  if (kernel_.getpid() != owner_) return;
  Shared& shared = shared_.value;
  {
    const std::scoped_lock guard(shared.mutex);
    DUOLU_CHECK_UNLESS_EXITING(shared.queue.empty());
    shared.ending = true;
  }
  shared.work_or_end.notify_all();
  for (const pthread_t thread : threads_) (void)kernel_.pthread_join(thread);
  shared.~Shared();
}

void* OffloadPool::serve(void* pool) noexcept {
  while (detail::OffloadJob* const job = static_cast<OffloadPool*>(pool)->next_job()) {
    job->run(*job);
    if (exiting()) return nullptr;  // and the loop may be gone (LO13)
    job->loop->arrive(*job);
  }
  return nullptr;
}

detail::OffloadJob* OffloadPool::next_job() {
  Shared& shared = shared_.value;
  std::unique_lock lock(shared.mutex);
  shared.work_or_end.wait(lock, [&] { return shared.ending || !shared.queue.empty(); });
  if (shared.ending) return nullptr;
  auto& job = static_cast<detail::OffloadJob&>(shared.queue.front());
  shared.queue.remove(job);
  job.begun = true;
  return &job;
}

void OffloadPool::submit(detail::OffloadJob& job) noexcept {
  if (kernel_.getpid() != owner_)
    check_failed("an OffloadPool is used in a forked child, which has none of its threads (OF7)");
  {
    const std::scoped_lock guard(shared_.value.mutex);
    shared_.value.queue.push(job);
  }
  shared_.value.work_or_end.notify_one();
}

bool OffloadPool::withdraw(detail::OffloadJob& job) noexcept {
  const std::scoped_lock guard(shared_.value.mutex);
  if (job.begun) return false;
  shared_.value.queue.remove(job);
  return true;
}

}  // namespace duolu
