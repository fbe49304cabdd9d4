// Which sanitizer a build has: g++ defines a macro, clang has a feature.
#pragma once

#ifdef __has_feature
#define DUOLU_FEATURE(name) __has_feature(name)
#else
#define DUOLU_FEATURE(name) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || DUOLU_FEATURE(address_sanitizer)
#define DUOLU_ASAN 1
#else
#define DUOLU_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__) || DUOLU_FEATURE(thread_sanitizer)
#define DUOLU_TSAN 1
#else
#define DUOLU_TSAN 0
#endif
