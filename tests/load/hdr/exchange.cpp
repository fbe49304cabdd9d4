// hdr_exchange: our Histogram for another program to talk to. Reads words on standard input:
//   record VALUE TIMES ... encode   prints the text of a histogram of those values, and its figures
//   decode TEXT                     prints the figures of that text, or "refused"

#include <cstdint>
#include <cstdio>
#include <iostream>
#include <string>

#include "duolu/load/histogram.hpp"

namespace {

void print_figures(const duolu::Histogram& histogram) {
  std::printf("%llu", static_cast<unsigned long long>(histogram.count()));
  for (const double percent : {0.0, 10.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0})
    std::printf(" %llu", static_cast<unsigned long long>(histogram.percentile(percent)));
  std::printf("\n");
}

}  // namespace

int main() {
  duolu::Histogram histogram;
  for (std::string word; std::cin >> word;) {
    if (word == "record") {
      std::uint64_t value = 0;
      std::uint64_t times = 0;
      std::cin >> value >> times;
      histogram.record(value, times);
    } else if (word == "encode") {
      std::printf("%s ", histogram.encode().c_str());
      print_figures(histogram);
      histogram = duolu::Histogram();
    } else if (word == "decode" && std::cin >> word) {
      if (const auto decoded = duolu::Histogram::decode(word))
        print_figures(*decoded);
      else
        std::printf("refused\n");
    } else {
      return 2;
    }
  }
}
