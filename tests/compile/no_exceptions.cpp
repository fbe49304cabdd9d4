// with_scope(), offload() and the rest in a program that is built with -fno-exceptions.
#include <chrono>
#include <cstdlib>

#include "duolu/loop/offload.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/task/together.hpp"

using namespace duolu;
using namespace std::chrono_literals;

namespace {

Task<Result<int>> work(Loop* loop, OffloadPool* pool) {
  const bool slept = co_await loop->sleep_for(1ms);
  if (!slept) co_return fail(ECANCELED);
  co_return co_await offload(*pool, [] { return 7; });
}

Task<> all(Loop* loop, OffloadPool* pool, int* sum) {
  co_await with_scope([=](Scope& scope) -> Task<> {
    scope.spawn([=]() -> Task<> {
      const Result<int> one = co_await within(*loop, 60s, work(loop, pool));
      *sum += one.value_or(-1);
    });
    co_return;
  });
  const auto [first, second] = co_await when_all(work(loop, pool), work(loop, pool));
  *sum += first.value_or(-1) + second.value_or(-1);
}

}  // namespace

int main() {
  const auto made = make_loop().value();
  Loop& loop = *made;
  const auto pool = OffloadPool::start(real_kernel(), 1).value();
  int sum = 0;
  loop.run(all(&loop, pool.get(), &sum));
  return sum == 21 ? EXIT_SUCCESS : EXIT_FAILURE;
}
