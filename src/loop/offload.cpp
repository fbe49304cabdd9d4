// A job is in the pool's queue, then on one of its threads, then on its way to its loop
// (Loop::arrive), then ready. Whether it has begun is known under the pool's lock; from then on
// until it arrives it belongs to the thread. The loop's thread alone wakes and cancels it.

#include "duolu/loop/offload.hpp"

#include "duolu/base/check.hpp"

namespace duolu {
namespace detail {

void OffloadJob::park() noexcept {
  loop = static_cast<Loop*>(strand->ready()->owner());
  DUOLU_CHECK(loop != nullptr);
  pool.submit(*this);
}

void OffloadJob::abandon() noexcept {
  if (pool.withdraw(*this))
    wake(errno_code(ECANCELED));
  else
    stop(*this);  // no harm if it is over already
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
  {
    const std::scoped_lock guard(mutex_);
    DUOLU_CHECK(queue_.empty());
    ending_ = true;
  }
  work_or_end_.notify_all();
  for (const pthread_t thread : threads_) (void)kernel_.pthread_join(thread);
}

void* OffloadPool::serve(void* pool) noexcept {
  while (detail::OffloadJob* const job = static_cast<OffloadPool*>(pool)->next_job()) {
    job->run(*job);
    job->loop->arrive(*job);
  }
  return nullptr;
}

detail::OffloadJob* OffloadPool::next_job() {
  std::unique_lock lock(mutex_);
  work_or_end_.wait(lock, [this] { return ending_ || !queue_.empty(); });
  if (queue_.empty()) return nullptr;
  auto& job = static_cast<detail::OffloadJob&>(queue_.front());
  queue_.remove(job);
  job.begun = true;
  return &job;
}

void OffloadPool::submit(detail::OffloadJob& job) noexcept {
  {
    const std::scoped_lock guard(mutex_);
    queue_.push(job);
  }
  work_or_end_.notify_one();
}

bool OffloadPool::withdraw(detail::OffloadJob& job) noexcept {
  const std::scoped_lock guard(mutex_);
  if (job.begun) return false;
  queue_.remove(job);
  return true;
}

}  // namespace duolu
