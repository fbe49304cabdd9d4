ssize_t a(int fd, void* to) { return ::read(fd, to, 1); }
void b(int fd) { ::close(fd); }
int c() { return ::socket(1, 2, 3); }
int d(int fd) { return ::accept4(fd, nullptr, nullptr, 0); }
int e(int epoll) { return epoll_wait(epoll, nullptr, 0, 0); }
auto f() { return std::chrono::steady_clock::now(); }
auto g() { return system_clock::now(); }
std::random_device h;
std::mt19937 i(1);
std::uniform_int_distribution<int> j(1, 6);
void k(std::vector<int>& v) { std::shuffle(v.begin(), v.end(), i); }
int l() { return rand(); }
void m() { std::this_thread::sleep_for(std::chrono::seconds(1)); }
void n() { usleep(1); }
bool o() { return !fcntl(0, 1); }
int p() { return ::poll(nullptr, 0, 0); }
int q() { return ::epoll_create1(0); }
