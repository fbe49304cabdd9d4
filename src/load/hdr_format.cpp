// HdrHistogram's exchange format, version 2, which its log files and tools use.
//
// Big-endian throughout (HdrHistogram 2.1, AbstractHistogram.encodeIntoByteBuffer):
//   cookie          int32   0x1c849313
//   payload size    int32
//   index offset    int32   0, unless all values were shifted
//   digits          int32   3
//   lowest          int64   1
//   highest         int64
//   ratio           double  1.0
//   payload: the counts from place 0 on as ZigZag LEB128 numbers; -n stands for n empty places.
// The compressed form is the cookie 0x1c849314, the size of what follows, and that, zlib-deflated.
//
// Text comes from files and from other programs: decode() checks all of it.

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <new>

#include "duolu/load/histogram.hpp"
#include "places.hpp"

namespace duolu {
namespace {

constexpr std::uint32_t plain_cookie = 0x1c849313;
constexpr std::uint32_t compressed_cookie = 0x1c849314;
constexpr std::uint32_t digits = 3;
constexpr std::size_t header_size = 40;
/// More than any of our histograms needs: stops decompression bombs.
constexpr std::size_t most_bytes = 16U << 20U;

// --- numbers

template <class T>
void put(std::string& out, T value) {
  for (std::size_t i = sizeof(T); i-- > 0;)
    out.push_back(static_cast<char>(static_cast<unsigned char>(value >> (8 * i))));
}

template <class T>
T take(std::string_view& in) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value = static_cast<T>(value << 8U) | static_cast<unsigned char>(in[i]);
  in.remove_prefix(sizeof(T));
  return value;
}

/// ZigZag: the sign is the lowest bit. LEB128: seven bits a byte, but the ninth byte has eight.
void put_varint(std::string& out, std::int64_t number) {
  std::uint64_t value =
      (static_cast<std::uint64_t>(number) << 1U) ^ static_cast<std::uint64_t>(number >> 63);
  for (int i = 0; i < 8 && value >= 0x80; ++i) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7U;
  }
  out.push_back(static_cast<char>(value));
}

std::optional<std::int64_t> take_varint(std::string_view& in) {
  std::uint64_t value = 0;
  for (unsigned i = 0; i < 9; ++i) {
    if (in.empty()) return {};
    const auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    const bool last = i == 8 || byte < 0x80;
    value |= static_cast<std::uint64_t>(i == 8 ? byte : byte & 0x7fU) << (7 * i);
    if (last) break;
  }
  return static_cast<std::int64_t>(value >> 1U) ^ -static_cast<std::int64_t>(value & 1U);
}

// --- base64 (RFC 4648)

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string to_base64(std::string_view bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j)
      group = group << 8U | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    for (std::size_t j = 0; j < 4; ++j)
      text += i + j <= bytes.size() ? alphabet[group >> (18 - 6 * j) & 63U] : '=';
  }
  return text;
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return {};
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  std::uint32_t bits = 0;
  unsigned count = 0;
  for (const char letter : text) {
    const std::size_t value = alphabet.find(letter);
    if (value == std::string_view::npos) return {};
    bits = bits << 6U | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8) bytes.push_back(static_cast<char>(bits >> (count -= 8) & 0xffU));
  }
  return bytes;
}

// --- zlib

std::string deflated(const std::string& bytes) {
  uLongf size = compressBound(bytes.size());
  std::string out(size, '\0');
  const int result = compress(reinterpret_cast<Bytef*>(out.data()), &size,
                              reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
  if (result != Z_OK) throw std::bad_alloc();  // the buffer is large enough
  out.resize(size);
  return out;
}

std::optional<std::string> inflated(std::string_view bytes) {
  // The format does not contain the size: try larger and larger buffers.
  for (std::size_t room = std::max<std::size_t>(4096, 8 * bytes.size()); room <= most_bytes;
       room *= 4) {
    std::string out(room, '\0');
    uLongf size = room;
    const int result = uncompress(reinterpret_cast<Bytef*>(out.data()), &size,
                                  reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
    if (result == Z_OK) {
      out.resize(size);
      return out;
    }
    if (result != Z_BUF_ERROR) return {};
  }
  return {};
}

}  // namespace

std::string Histogram::encode() const {
  std::string payload;
  const std::size_t end = used();
  for (std::size_t place = 0; place < end;) {
    std::size_t empty = 0;
    while (place + empty < end && places_[place + empty] == 0) ++empty;
    if (empty != 0)
      put_varint(payload, -static_cast<std::int64_t>(empty));
    else
      put_varint(payload, static_cast<std::int64_t>(places_[place]));
    place += std::max<std::size_t>(empty, 1);
  }
  std::string plain;
  put(plain, plain_cookie);
  put(plain, static_cast<std::uint32_t>(payload.size()));
  put(plain, std::uint32_t{0});
  put(plain, digits);
  put(plain, std::uint64_t{1});
  put(plain, highest_);
  put(plain, std::bit_cast<std::uint64_t>(1.0));
  const std::string packed = deflated(plain + payload);
  std::string out;
  put(out, compressed_cookie);
  put(out, static_cast<std::uint32_t>(packed.size()));
  return to_base64(out + packed);
}

std::optional<Histogram> Histogram::decode(std::string_view text) {
  const std::optional<std::string> outer = from_base64(text);
  if (!outer || outer->size() < 8) return {};
  std::string_view in = *outer;
  if (take<std::uint32_t>(in) != compressed_cookie || take<std::uint32_t>(in) != in.size())
    return {};
  const std::optional<std::string> inner = inflated(in);
  if (!inner) return {};
  return decode_plain(*inner);
}

std::optional<Histogram> Histogram::decode_plain(std::string_view in) {
  if (in.size() < header_size) return {};
  if (take<std::uint32_t>(in) != plain_cookie) return {};
  const auto payload_size = take<std::uint32_t>(in);
  const auto offset = take<std::uint32_t>(in);
  const auto precision = take<std::uint32_t>(in);
  const auto lowest = take<std::uint64_t>(in);
  const auto highest = take<std::uint64_t>(in);
  take<std::uint64_t>(in);  // a ratio for values that are not integers: ours are
  // Shifted ones have an offset of half_places or more; hdr-histogram-js always writes 1.
  if (offset > 1 || precision != digits || lowest != 1 || highest < 2 ||
      highest >= std::uint64_t{1} << 62U || in.size() < payload_size)
    return {};
  in = in.substr(0, payload_size);

  Histogram histogram(highest);
  std::size_t place = 0;
  while (!in.empty()) {
    const std::optional<std::int64_t> number = take_varint(in);
    if (!number) return {};
    if (*number < 0) {
      // At most the number of places left: so the sum does not overflow.
      if (*number < -static_cast<std::int64_t>(histogram.places_.size() - place)) return {};
      place += static_cast<std::size_t>(-*number);
      continue;
    }
    if (place >= histogram.places_.size()) return {};
    if (*number > 0)
      histogram.record(std::min(lowest_in(place), highest), static_cast<std::uint64_t>(*number));
    ++place;
  }
  if (histogram.count_ != 0)
    histogram.max_ = std::min(
        highest, lowest_in(place_of(histogram.max_)) + width_of(place_of(histogram.max_)) - 1);
  return histogram;
}

}  // namespace duolu
