#pragma once
using namespace std;
namespace duolu {
using namespace std::chrono;
extern "C" {
using namespace a;
}
inline int f() {
  using namespace std;
  return 1;
}
}
