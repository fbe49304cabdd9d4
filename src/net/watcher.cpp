#include "duolu/net/watcher.hpp"

#include "open_descriptor.hpp"

namespace duolu {

Result<Watcher> Watcher::open(Loop& loop, int fd) {
  // As a file: nothing is assumed of it, and one that is always ready is accepted.
  Fd borrowed(loop.kernel(), fd);
  const Result<Descriptor*> descriptor =
      open_descriptor(loop.engine(), borrowed, DescriptorKind::file);
  (void)borrowed.release();
  if (!descriptor) return fail(descriptor.error());
  return Watcher(**descriptor);
}

Watcher::~Watcher() {
  if (descriptor_ == &detail::no_descriptor) return;
  Result<Fd> given = descriptor_->engine->release(*descriptor_);
  if (given) (void)given->release();
}

}  // namespace duolu
