// The layout of the places, and percentiles. The exchange format is in hdr_format.cpp.

#include "duolu/load/histogram.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "duolu/base/check.hpp"
#include "places.hpp"

namespace duolu {

Histogram::Histogram(std::uint64_t highest) : highest_(highest), places_(place_of(highest) + 1) {
  DUOLU_CHECK(highest >= 2 && highest < std::uint64_t{1} << 62U);
}

void Histogram::record(std::uint64_t value, std::uint64_t times) noexcept {
  value = std::min(value, highest_);
  places_[place_of(value)] += times;
  count_ += times;
  min_ = std::min(min_, value);
  max_ = std::max(max_, value);
}

void Histogram::merge(const Histogram& other) noexcept {
  if (other.count_ == 0) return;
  for (std::size_t place = 0; place < other.places_.size(); ++place)
    places_[std::min(place, places_.size() - 1)] += other.places_[place];
  count_ += other.count_;
  min_ = std::min({min_, other.min_, highest_});
  max_ = std::max(max_, std::min(other.max_, highest_));
}

double Histogram::mean() const noexcept {
  if (count_ == 0) return 0;
  double sum = 0;
  for (std::size_t place = 0; place < places_.size(); ++place)
    sum += static_cast<double>(places_[place]) * static_cast<double>(middle_of(place));
  // If few values share a place, its middle may be above or below all of them.
  return std::clamp(sum / static_cast<double>(count_), static_cast<double>(min()),
                    static_cast<double>(max_));
}

std::uint64_t Histogram::percentile(double percent) const noexcept {
  if (count_ == 0) return 0;
  const double share = std::clamp(percent, 0.0, 100.0) / 100;
  const auto wanted = std::max<std::uint64_t>(
      1, static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_))));
  std::uint64_t seen = 0;
  for (std::size_t place = 0; place < places_.size(); ++place) {
    seen += places_[place];
    if (seen >= wanted) return std::min(max_, lowest_in(place) + width_of(place) - 1);
  }
  return max_;
}

std::size_t Histogram::used() const noexcept { return count_ != 0 ? place_of(max_) + 1 : 0; }

bool Histogram::operator==(const Histogram& other) const noexcept {
  return used() == other.used() &&
         std::equal(places_.begin(), places_.begin() + static_cast<std::ptrdiff_t>(used()),
                    other.places_.begin());
}

}  // namespace duolu
