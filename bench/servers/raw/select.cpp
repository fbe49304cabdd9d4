// raw_select PORT: select(2) without a library. The sets are longer than the C library's: the
// kernel takes any length, FD_SETSIZE limits only FD_SET.
#include <sys/select.h>

#include <algorithm>
#include <bit>

#include "../echo.hpp"
#include "../servers.hpp"

namespace {

using bench::Next;

using Word = unsigned long;  // the kernel's unit of a set
constexpr int bits = 8 * sizeof(Word);
constexpr int max_descriptors = 1 << 20;  // Linux' own default limit, fs.nr_open
struct Set {
  Word words[max_descriptors / bits];

  void add(int fd) { words[fd / bits] |= Word{1} << (fd % bits); }
  void remove(int fd) { words[fd / bits] &= ~(Word{1} << (fd % bits)); }
};

Set reading, readable, writing, writable;
int highest;
int writers = 0;  // how many are in `writing`

fd_set* to_kernel(const Set& from, Set& to) {
  std::copy_n(from.words, highest / bits + 1, to.words);
  return reinterpret_cast<fd_set*>(&to);
}

void accept_all(int listener) {
  for (int client; (client = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
    if (client >= max_descriptors) {
      ::close(client);
      continue;
    }
    reading.add(client);
    highest = std::max(highest, client);
  }
}

[[gnu::cold, gnu::noinline]] void settle(int fd, Next next) {
  if (next == Next::write) {
    reading.remove(fd);
    writing.add(fd);
    ++writers;
  } else {
    reading.remove(fd);
    bench::close_connection(fd);
  }
}

/// Sends what can be sent. Returns how many descriptors were ready for it.
[[gnu::cold, gnu::noinline]] int write_all() {
  int done = 0;
  for (int fd = 0; fd <= highest; ++fd) {
    if ((writable.words[fd / bits] >> (fd % bits) & 1) == 0) continue;
    ++done;
    const Next next = bench::send_unsent(fd);
    if (next == Next::write) continue;
    --writers;
    writing.remove(fd);
    next == Next::read ? reading.add(fd) : settle(fd, next);
  }
  return done;
}

}  // namespace

int bench::raw_select(int argc, char** argv) {
  const int listener = bench::listen_on(bench::start(argc, argv).port, SOCK_NONBLOCK);
  highest = listener;
  reading.add(listener);
  for (;;) {
    int left = ::select(highest + 1, to_kernel(reading, readable),
                        writers > 0 ? to_kernel(writing, writable) : nullptr, nullptr, nullptr);
    if (writers > 0) [[unlikely]]
      left -= write_all();
    for (int base = 0; left > 0 && base <= highest; base += bits) {
      for (Word word = readable.words[base / bits]; word != 0; word &= word - 1) {
        const int fd = base + std::countr_zero(word);
        --left;
        if (fd == listener) [[unlikely]] {
          accept_all(fd);
          continue;
        }
        bool drained = true;
        const Next next = bench::echo_once(fd, drained);
        if (next != Next::read) [[unlikely]]
          settle(fd, next);
      }
    }
  }
}
