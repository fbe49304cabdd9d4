#pragma once
#define TRY(x) ({ auto r = (x); if (!r) return r; *r; })
#define LONG(x) \
  ({            \
    auto r = x; \
    r;          \
  })
inline void g() { f({1, 2}); }
inline void h() {
  f({[] { return 1; }, 2});
}
