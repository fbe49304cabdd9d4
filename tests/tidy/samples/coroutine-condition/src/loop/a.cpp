Task<> a() {
  if (!co_await flag.wait()) co_return;
  while (co_await flag.wait()) work();
  switch (co_await number()) {}
  do work(); while (co_await number() == 3 && co_await flag.wait());
  if (ready() && co_await number() <= 3) work();
  if (const bool set = co_await flag.wait()) work();
  if (const bool set = co_await flag.wait(); set) work();
  while (Result<int> value = co_await channel.receive()) work();
  if (run([] { return co_await number(); })) work();
}
