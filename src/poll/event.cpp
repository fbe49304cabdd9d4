#include "duolu/poll/event.hpp"

namespace duolu {
namespace {

struct Name {
  std::uint32_t bit;
  const char* name;
};
// Interest's bits have the values of the Ready bits of the same name.
constexpr Name names[] = {{0x1, "readable"},      {0x2, "priority"}, {0x4, "writable"},
                          {0x8, "error"},         {0x10, "hangup"},  {0x20, "invalid"},
                          {0x2000, "read_closed"}};

std::string join(std::uint32_t bits) {
  std::string text;
  for (const Name& name : names) {
    if ((bits & name.bit) == 0) continue;
    if (!text.empty()) text += '|';
    text += name.name;
  }
  return text.empty() ? "none" : text;
}

}  // namespace

std::string to_string(Ready ready) { return join(static_cast<std::uint32_t>(ready)); }
std::string to_string(Interest interest) { return join(static_cast<std::uint32_t>(interest)); }

const char* to_string(Trigger trigger) noexcept {
  switch (trigger) {
    case Trigger::level: return "level";
    case Trigger::edge: return "edge";
    case Trigger::oneshot: return "oneshot";
  }
  return "unknown";
}

}  // namespace duolu
