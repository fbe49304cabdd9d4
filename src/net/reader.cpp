#include "duolu/net/reader.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "duolu/base/check.hpp"

namespace duolu {

std::string_view Reader::give(std::size_t size) noexcept {
  const std::string_view text = unread().substr(0, size);
  begin_ += text.size();
  return text;
}

/// Makes room behind `end_`. The unread bytes are the beginning of one piece then: they are moved
/// to the front once, and copied when the buffer doubles. So the cost of a byte does not depend on
/// how many are in front of it.
void Reader::make_room() {
  if (begin_ > 0) {
    std::copy(buffer_.data() + begin_, buffer_.data() + end_, buffer_.data());
    end_ -= std::exchange(begin_, 0);
  }
  const std::size_t most = limit_ == SIZE_MAX ? limit_ : limit_ + 1;
  constexpr std::size_t least = 4096;
  if (end_ == buffer_.size()) buffer_.resize(std::min(std::max(least, end_ * 2), most));
}

Task<Result<bool>> Reader::fill() {
  make_room();
  const std::size_t got =
      co_await try_(stream_->read(buffer_.data() + end_, buffer_.size() - end_));
  end_ += got;
  co_return got != 0;
}

Task<Result<std::string_view>> Reader::read_until(std::string_view delimiter) {
  if (delimiter.empty()) check_failed("read_until() of an empty delimiter");
  std::size_t searched = 0;  // no delimiter begins before this position
  for (;;) {
    const std::string_view within_limit = unread().substr(0, limit_);
    const std::size_t found = within_limit.find(delimiter, searched);
    if (found != std::string_view::npos) co_return give(found + delimiter.size());
    if (unread().size() > limit_) co_return fail(make_error_code(StreamError::too_long));
    searched = within_limit.size() - std::min(within_limit.size(), delimiter.size() - 1);
    const bool more = co_await try_(fill());
    if (!more) co_return give(unread().size());
  }
}

Task<Result<std::string_view>> Reader::read_some() {
  if (unread().empty()) co_await try_(fill());
  co_return take();
}

Task<Result<std::string_view>> Reader::read_exact(std::size_t size) {
  if (size > limit_) co_return fail(make_error_code(StreamError::too_long));
  while (unread().size() < size) {
    const bool more = co_await try_(fill());
    if (!more) co_return fail(make_error_code(StreamError::ended));
  }
  co_return give(size);
}

}  // namespace duolu
