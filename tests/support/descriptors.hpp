// Descriptors as tests handle them: which are open, on which number a file sits, how many there
// may be. Linux: /proc/self/fd is read.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "duolu/kernel/fd.hpp"
#include "duolu/kernel/kernel.hpp"

namespace duolu::test {

/// The numbers of this process's open descriptors.
inline std::set<int> open_descriptors() {
  std::set<int> found;
  DIR* directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) std::abort();
  while (const dirent* entry = ::readdir(directory))
    if (entry->d_name[0] != '.') found.insert(std::atoi(entry->d_name));
  found.erase(::dirfd(directory));
  ::closedir(directory);
  return found;
}

inline bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

/// How many registrations the kernel holds for an epoll descriptor.
inline std::size_t kernel_watches(int epoll) {
  const auto members = [](int set) {
    std::ifstream info("/proc/self/fdinfo/" + std::to_string(set));
    std::vector<int> numbers;
    for (std::string line; std::getline(info, line);)
      if (line.starts_with("tfd:")) numbers.push_back(std::stoi(line.substr(4)));
    return numbers;
  };
  const std::vector<int> set = members(epoll);  // what Poller::fd() gives has one member: the set
  return set.size() == 1 ? members(set.front()).size() : 0;
}

/// Another number for the same open file.
inline Fd duplicate(int fd) {
  const int made = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (made < 0) std::abort();
  return {real_kernel(), made};
}

/// Puts the open file of `fd` on the number `number`, closing what was there.
inline Fd on_number(int fd, int number) {
  if (::dup3(fd, number, O_CLOEXEC) != number) std::abort();
  return {real_kernel(), number};
}

/// Sets how many descriptors this process may have (the soft limit); restored at the end.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t soft) {
    if (::getrlimit(RLIMIT_NOFILE, &before_) != 0) std::abort();
    const rlimit wanted{.rlim_cur = soft, .rlim_max = before_.rlim_max};
    held_ = soft <= before_.rlim_max && ::setrlimit(RLIMIT_NOFILE, &wanted) == 0;
  }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;
  ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }

  /// Whether the limit could be set; otherwise the hard limit is in the way.
  [[nodiscard]] bool held() const noexcept { return held_; }
  [[nodiscard]] rlim_t hard() const noexcept { return before_.rlim_max; }

 private:
  rlimit before_{};
  bool held_ = false;
};

}  // namespace duolu::test
