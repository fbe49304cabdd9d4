#include "apps/transcript.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "apps/text.hpp"

namespace duolu::apps {
namespace {

struct Range {
  std::uint32_t first;
  std::uint32_t last;
};

/// Characters that a terminal acts on, or that hide other text.
constexpr Range unseen[] = {
    {0x0, 0x9f},        // controls; ASCII is handled before
    {0x61c, 0x61c},     // direction of text
    {0x200b, 0x200f},   // without width, direction
    {0x2028, 0x202e},   // separators, direction
    {0x2060, 0x206f},   // without width, direction
    {0xd800, 0xdfff},   // halves of a character
    {0xfeff, 0xfeff},   // without width
    {0xfff0, 0xfffb},   // annotations
    {0xe0000, 0xe0fff}  // tags
};

/// The size of a character that begins with `lead`; 0 if none of several bytes does.
std::size_t size_of(unsigned char lead) {
  if (lead < 0xc2 || lead > 0xf4) return 0;
  if (lead < 0xe0) return 2;
  return lead < 0xf0 ? 3 : 4;
}

/// Whether these bytes, the right number of them, are a character that may be shown.
bool is_shown(std::string_view bytes) {
  static constexpr std::uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  std::uint32_t code = static_cast<unsigned char>(bytes[0]) & (0xffU >> (bytes.size() + 1));
  for (const char c : bytes.substr(1)) code = code << 6U | (static_cast<unsigned char>(c) & 0x3fU);
  if (code < smallest[bytes.size()] || code > 0x10ffff) return false;
  return std::none_of(std::begin(unseen), std::end(unseen),
                      [&](const Range& r) { return code >= r.first && code <= r.last; });
}

}  // namespace

void SafeText::add(std::string_view bytes, std::string& out) {
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (!begun_.empty() && (byte & 0xc0U) == 0x80) {
      begun_ += c;
      if (begun_.size() == character_ && is_shown(begun_)) out += std::exchange(begun_, {});
      if (begun_.size() == character_) end(out);
      continue;
    }
    if (c == '\n') after_return_ = false;  // "\r\n" is one end of line
    end(out);
    character_ = size_of(byte);
    if (character_ != 0)
      begun_ = c;
    else if (c == '\r')
      after_return_ = true;
    else if (c == '\n' || c == '\t' || (byte >= 0x20 && byte < 0x7f))
      out += c;
    else
      out += escape(std::string_view(&c, 1));
  }
}

void SafeText::end(std::string& out) {
  if (std::exchange(after_return_, false)) out += "\\r";
  out += escape(std::exchange(begun_, {}));
}

std::string Transcript::add(std::string_view bytes) {
  if (form_ == Form::hex) return hex(bytes);
  std::string text;
  if (form_ == Form::safe)
    safe_.add(bytes, text);
  else
    text = bytes;
  return mark_.empty() ? text : marked(text);
}

std::string Transcript::end() {
  std::string text;
  safe_.end(text);
  if (mark_.empty()) return text;
  text = marked(text);
  if (!line_.empty()) text += mark_ + std::exchange(line_, {}) + '\n';
  return text;
}

std::string Transcript::hex(std::string_view bytes) {
  constexpr std::size_t width = 16;
  std::string text;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(width, bytes.size()))) {
    const std::string_view row = bytes.substr(0, width);
    std::string codes;
    std::string letters;
    for (const char c : row) {
      codes += fmt::format(" {:02x}", static_cast<unsigned char>(c));
      letters += c >= 0x20 && c < 0x7f ? c : '.';
    }
    text += fmt::format("{}{:08x} {:<{}}  |{}|\n", mark_, offset_, codes, 3 * width, letters);
    offset_ += row.size();
  }
  return text;
}

std::string Transcript::marked(std::string_view text) {
  constexpr std::size_t longest = 4096;  // also the longest line of a terminal
  std::string lines;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), longest - line_.size());
    line_ += rest.substr(0, end);
    if (end >= rest.size()) break;
    rest.remove_prefix(rest[end] == '\n' ? end + 1 : end);
    lines += mark_ + std::exchange(line_, {}) + '\n';
  }
  return lines;
}

void Expectation::add(std::string_view bytes) {
  constexpr std::size_t kept = 1024;
  std::size_t searched = recent_.size();
  recent_ += bytes;
  while (!met()) {
    const std::string& text = (*texts_)[found_];
    const std::size_t from = searched - std::min(searched, text.size() - 1);
    const std::size_t at = recent_.find(text, from);
    if (at == std::string::npos) break;
    recent_.erase(0, at + text.size());
    searched = skipped_ = 0;
    ++found_;
  }
  const std::size_t most = met() ? 0 : std::max(kept, (*texts_)[found_].size());
  if (recent_.size() <= most) return;
  skipped_ += recent_.size() - most;
  recent_.erase(0, recent_.size() - most);
}

std::string Expectation::complaint(std::string_view when) const {
  constexpr std::size_t shown = 200;
  const std::string what =
      fmt::format("\"{}\" did not come {}", escape((*texts_)[found_], shown), when);
  if (skipped_ + recent_.size() == 0) return what + "; nothing came instead";
  const std::size_t cut = recent_.size() - std::min(recent_.size(), shown);
  return fmt::format("{}; what came instead{}: \"{}\"", what,
                     skipped_ + cut == 0 ? std::string()
                                         : fmt::format(" ends, after {} bytes, in", skipped_ + cut),
                     escape(std::string_view(recent_).substr(cut)));
}

std::string_view LineEnds::apply(std::string_view bytes, std::string& space) {
  if (delimiter_ == "\n") return bytes;
  space.clear();
  for (const char c : bytes) {
    if (c != '\n')
      space += c;
    else
      space += crlf_ && after_return_ ? "\n" : delimiter_;
    after_return_ = c == '\r';
  }
  return space;
}

}  // namespace duolu::apps
