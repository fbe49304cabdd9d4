// Any bytes, cut anywhere: the same end, and answers that do not outgrow their requests. The first
// byte says how the rest is cut.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "apps/http_echo.hpp"
#include "duolu/base/check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t step = 1 + data[0];
  const std::vector<char> bytes(data + 1, data + size);
  duolu::apps::HttpDate date(duolu::real_host());
  const auto run = [&](std::size_t piece, std::vector<char>& sent) {
    duolu::apps::HttpEcho http(date);
    bool open = true;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      const std::size_t before = sent.size();
      const bool was_open = open;
      open = http.consume({bytes.data() + at, std::min(piece, bytes.size() - at)}, sent);
      DUOLU_CHECK(was_open || (!open && sent.size() == before));  // nothing after the end
    }
    return open;
  };
  std::vector<char> whole;
  std::vector<char> cut;
  DUOLU_CHECK(run(bytes.size() + 1, whole) == run(step, cut));
  DUOLU_CHECK(whole.size() <= bytes.size() * 10 + 440);
  return 0;
}
