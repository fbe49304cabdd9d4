// Public. Layer: base. Checks that the compiler has C++23; included before all else.
#pragma once

#if !defined(__cplusplus) || __cplusplus < 202100L  // g++ 12 with -std=c++23 says 202100
#error duolu needs -std=c++23
#include <duolu_needs_std_cxx23>  // no such file: stops here, before hundreds of other errors
#endif
