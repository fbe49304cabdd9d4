Task<> a() { co_await connect({.host = "h", .port = 1}); }
Task<> b() {
  co_await Awaiter{name(), 1};
  co_await f(1,
             Options{});
}
Task<> c() {
  const Options options{.host = "h"};
  co_await connect(options);
  if (co_await x()) {
    co_return;
  }
  for (int n : co_await list()) {
    use({1, 2}, n);
  }
  co_await offload([]() -> int { return 1; });
  co_await offload([] { return 1; }, 2);
}
