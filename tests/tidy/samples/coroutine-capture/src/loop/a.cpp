auto a = [this](int n) -> Task<int> { co_return n; };
auto b = [&]() mutable -> duolu::Task<> { co_return; };
auto c = [x = std::move(y)](std::function<int(int)> f) -> Task<> { co_return; };
auto d = [](int n) -> Task<int> { co_return n; };
auto e = [this](int n) -> int { return n; };
[[nodiscard]] auto f(int n) -> Task<int>;
