#pragma once

#include <string>

namespace duolu {
/// Never calls ::read( or assert(, and says std::cout only here.
inline std::string text() { return "::read(fd) assert(x) ({ a; }) \t std::cout"; }
}  // namespace duolu
