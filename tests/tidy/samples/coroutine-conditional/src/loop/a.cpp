Task<std::string> a(bool c) { co_return c ? co_await x() : co_await y(); }
Task<std::string> b(bool c) {
  std::string text = c ? std::string() : f(1, co_await y());
  co_return text;
}
Task<std::string> c(bool c) {
  if (c) co_return co_await x();
  const int n = c ? 1 : 2;
  f(c ? 1 : 2, co_await y());
  co_return (co_await x()).empty() ? "a" : "b";
}
