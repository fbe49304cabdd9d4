// Public. Layer: base. What the headers need of the compiler; included before all else.
#pragma once

#if !defined(__cplusplus) || __cplusplus < 202100L  // g++ 12 with -std=c++23 says 202100
#error duolu needs -std=c++23
#include <duolu_needs_std_cxx23>  // no such file: ends this here, before hundreds of other errors
#endif
