// An echo server on several threads, each with a loop of its own. The main loop accepts, and hands
// the connections to the others in turn; no lock, no shared connection.
//   18_loops ADDRESS [THREADS]     for example:   18_loops localhost:5000 4
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <thread>
#include <utility>

#include "duolu/duolu.hpp"

namespace {

using namespace duolu;

Task<Result<>> echo(Stream client) {
  while (Lease bytes = co_await try_(client.read_lease()))
    co_await try_(client.write_all(std::move(bytes)));
  co_return {};
}

// [worker]
/// A thread with a loop, and the connections that were given to it.
class Worker {
 public:
  explicit Worker(int number)
      : number_(number), loop_(make_loop().value()), thread_([this] { loop_->run(work(this)); }) {}
  ~Worker() {
    loop_->stop();  // cancels work(), and with it every connection
    thread_.join();
  }

  /// Any thread.
  void take(Fd connection) {
    loop_->post([this, fd = std::move(connection)]() mutable {
      Result<Stream> stream = Stream::open(*loop_, std::move(fd));
      if (!stream || scope_ == nullptr) return;
      std::printf("a connection for thread %d\n", number_);
      scope_->spawn(echo(*std::move(stream)), "connection");
    });
  }

 private:
  static Task<> work(Worker* self) {
    co_await with_scope([self](Scope& scope) { return stay_open(self, &scope); });
  }
  static Task<> stay_open(Worker* self, Scope* scope) {
    self->scope_ = scope;
    Flag never;
    (void)co_await never.wait();  // until stop()
    self->scope_ = nullptr;
  }

  const int number_;
  Scope* scope_ = nullptr;
  std::unique_ptr<Loop> loop_;
  std::thread thread_;
};
// [/worker]

// [hand]
Task<Result<>> hand_over(Stream client, Worker* worker) {
  worker->take(co_await try_(client.release()));
  co_return {};
}
// [/hand]

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::fputs("usage: 18_loops ADDRESS [THREADS]\n", stderr), 2;
  const int threads = argc > 2 ? std::atoi(argv[2]) : 2;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::deque<Worker> workers;
  for (int number = 1; number == 1 || number <= threads; ++number) workers.emplace_back(number);
  return run(serve(argv[1], [&workers, turn = std::size_t{0}](Stream client) mutable {
    return hand_over(std::move(client), &workers[turn++ % workers.size()]);
  }));
}
