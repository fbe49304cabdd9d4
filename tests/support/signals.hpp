// Signals as tests need them: a handler for a while, and a thread that keeps sending.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

namespace duolu::test {

/// Handles a signal for as long as it lives. Without SA_RESTART (which the multiplexers ignore).
class SignalHandler {
 public:
  SignalHandler(int signal, void (*handler)(int)) : signal_(signal) {
    struct sigaction action{};
    action.sa_handler = handler;
    ::sigemptyset(&action.sa_mask);
    if (::sigaction(signal, &action, &before_) != 0) std::abort();
  }
  SignalHandler(const SignalHandler&) = delete;
  SignalHandler& operator=(const SignalHandler&) = delete;
  ~SignalHandler() { ::sigaction(signal_, &before_, nullptr); }

 private:
  int signal_;
  struct sigaction before_{};
};

/// Sends a signal about every millisecond to the thread that made it, until destroyed.
class SignalStorm {
 public:
  explicit SignalStorm(int signal)
      : thread_([this, signal, target = ::pthread_self()] {
          while (!done_.load(std::memory_order_acquire)) {
            ::pthread_kill(target, signal);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          }
        }) {}
  SignalStorm(const SignalStorm&) = delete;
  SignalStorm& operator=(const SignalStorm&) = delete;
  ~SignalStorm() {
    done_.store(true, std::memory_order_release);
    thread_.join();
  }

 private:
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

}  // namespace duolu::test
