// Copies a file, while the loop would serve others.   19_file_copy FROM TO
#include "duolu/duolu.hpp"

using namespace duolu;

static Task<Result<>> copy(std::string from, std::string to) {
  File source = co_await try_(File::open(from));
  File target =
      co_await try_(File::open(to, OpenMode::write | OpenMode::create | OpenMode::truncate));
  std::string buffer(std::size_t{64} << 10U, '\0');
  for (std::uint64_t offset = 0;;) {
    const std::size_t size = co_await try_(source.read_at(buffer, offset));
    if (size == 0) break;
    co_await try_(target.write_all_at(std::string_view(buffer).substr(0, size), offset));
    offset += size;
  }
  co_await try_(target.sync_data());  // before it is called done
  co_return co_await target.close();
}

int main(int argc, char** argv) { return argc == 3 ? run(copy(argv[1], argv[2])) : 2; }
