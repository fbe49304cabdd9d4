// Any bytes: no histogram, or one that is the same after it was written and read again. As they
// are, and as the highest value and the counts behind a header that is right.

#include <cstdint>
#include <string>
#include <string_view>

#include "duolu/base/check.hpp"
#include "duolu/load/histogram.hpp"

namespace {

void check(std::string_view bytes) {
  const auto histogram = duolu::Histogram::decode_plain(bytes);
  if (!histogram) return;
  DUOLU_CHECK(histogram->percentile(50) <= histogram->max());
  const auto again = duolu::Histogram::decode(histogram->encode());
  DUOLU_CHECK(again.has_value() && *again == *histogram);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace std::string_literals;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)duolu::Histogram::decode(bytes);
  check(bytes);
  if (size < 8) return 0;
  std::string whole = "\x1c\x84\x93\x13"s;
  for (const unsigned shift : {24U, 16U, 8U, 0U})
    whole += static_cast<char>(static_cast<unsigned char>((size - 8) >> shift));
  whole += "\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\1"s;
  whole += bytes.substr(0, 8);
  whole += "\0\0\0\0\0\0\0\0"s;
  whole += bytes.substr(8);
  check(whole);
  return 0;
}
