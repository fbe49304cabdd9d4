// Private. Which place of a Histogram a value has: the layout that all HdrHistograms with three
// significant digits and a lowest value of 1 share.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace duolu {

/// Places for each doubling; twice as many for the values below them.
inline constexpr unsigned half_bits = 10;
inline constexpr std::uint64_t half_places = 1U << half_bits;

/// How often the value must be halved to be in the places of one doubling.
constexpr unsigned doublings_of(std::uint64_t value) noexcept {
  const auto bits = static_cast<unsigned>(std::bit_width(value | (2 * half_places - 1)));
  return bits - (half_bits + 1);
}

constexpr std::size_t place_of(std::uint64_t value) noexcept {
  const unsigned doublings = doublings_of(value);
  return static_cast<std::size_t>(doublings * half_places + (value >> doublings));
}

/// How many values share the place.
constexpr std::uint64_t width_of(std::size_t place) noexcept {
  return place < 2 * half_places ? 1 : std::uint64_t{1} << (place / half_places - 1);
}

/// The smallest value of the place.
constexpr std::uint64_t lowest_in(std::size_t place) noexcept {
  if (place < 2 * half_places) return place;
  return (half_places + place % half_places) * width_of(place);
}

constexpr std::uint64_t middle_of(std::size_t place) noexcept {
  return lowest_in(place) + width_of(place) / 2;
}

static_assert(place_of(0) == 0 && place_of(2047) == 2047);
static_assert(place_of(2048) == 2048 && place_of(2049) == 2048 && width_of(2048) == 2);
static_assert(lowest_in(place_of(1'000'000)) <= 1'000'000);
static_assert(lowest_in(place_of(1'000'000) + 1) > 1'000'000);

}  // namespace duolu
