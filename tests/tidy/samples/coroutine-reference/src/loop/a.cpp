Task<int> a(const std::string& text);
Task<> b(std::string&& text, int n);
auto c(int n, std::string const& text) -> Task<>;
auto d = [](const Options& options = {}) -> Task<> { co_return; };
Task<std::vector<int>> Server::e(
    Stream stream, const std::vector<std::pair<int, int>>& list);
Task<> f(Kernel& kernel, const char* text, std::string_view view, const int n);
Task<> g(std::function<int(const std::string&)> callback, std::vector<const int*> list);
void spawn(Task<int>&& task, const std::string& name);
Task<int> h = start(const_cast<int&>(n));
