// std::barrier, of which ThreadSanitizer sees that it synchronizes: libc++ has the waiting in its
// library, which is not instrumented.
#pragma once

#include <pthread.h>

namespace duolu::test {

class Barrier {
 public:
  explicit Barrier(unsigned threads) noexcept {
    ::pthread_barrier_init(&barrier_, nullptr, threads);
  }
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;
  ~Barrier() { ::pthread_barrier_destroy(&barrier_); }
  void arrive_and_wait() noexcept { ::pthread_barrier_wait(&barrier_); }

 private:
  pthread_barrier_t barrier_{};
};

}  // namespace duolu::test
