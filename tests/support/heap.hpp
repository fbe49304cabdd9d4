// How much memory is allocated, for tests of what takes none. Where malloc(3) does not tell (under
// sanitizers, or another C library) it is always 0, and such a test shows nothing.
#pragma once

#include <cstddef>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace duolu::test {

inline std::size_t heap_in_use() {
#if defined(__GLIBC__)
  return ::mallinfo2().uordblks;
#else
  return 0;
#endif
}

}  // namespace duolu::test
