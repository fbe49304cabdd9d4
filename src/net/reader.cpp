#include "duolu/net/reader.hpp"

#include <algorithm>

#include "duolu/base/check.hpp"

namespace duolu {

std::string_view Reader::give(std::size_t size) noexcept {
  const std::string_view text = unread().substr(0, size);
  begin_ += text.size();
  return text;
}

Task<Result<bool>> Reader::fill() {
  buffer_.erase(0, std::exchange(begin_, 0));
  const std::size_t before = buffer_.size();
  if (before >= limit_) co_return fail(make_error_code(StreamError::too_long));
  constexpr std::size_t step = 4096;
  // No try_: the buffer must have its true size again whatever happens.
  buffer_.resize(before + std::min(std::max(step, before), limit_ - before));
  const Result<std::size_t> got =
      co_await stream_->read(buffer_.data() + before, buffer_.size() - before);
  buffer_.resize(before + got.value_or(0));
  if (!got) co_return fail(got.error());
  co_return *got != 0;
}

Task<Result<std::string_view>> Reader::read_until(std::string_view delimiter) {
  DUOLU_CHECK(!delimiter.empty());
  std::size_t searched = 0;  // no delimiter begins before
  for (;;) {
    const std::size_t found = unread().find(delimiter, searched);
    if (found != std::string_view::npos) co_return give(found + delimiter.size());
    searched = unread().size() - std::min(unread().size(), delimiter.size() - 1);
    const bool more = co_await try_(fill());
    if (!more) co_return give(unread().size());
  }
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
