// Private. A system call without the C library: the result is -errno, as the kernel returns it.
//
// Two thirds of what duolu itself spends on a small message is the way into the kernel; the C
// library's wrapper (cancellation check, errno) is 16 of about 60 instructions a message. Under a
// sanitizer the C library's functions are used instead: their interceptors check the buffers and
// show ThreadSanitizer which write a read has seen.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DUOLU_RAW_SYSCALL 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define DUOLU_RAW_SYSCALL 0
#endif
#endif
#ifndef DUOLU_RAW_SYSCALL
#if defined(__linux__) && defined(__x86_64__) && defined(__LP64__) && !defined(DUOLU_POSIX_ONLY)
#define DUOLU_RAW_SYSCALL 1
#else
#define DUOLU_RAW_SYSCALL 0
#endif
#endif

#if DUOLU_RAW_SYSCALL
namespace duolu {

/// The `syscall` instruction (x86-64 ABI, appendix A.2.1): at most six arguments, returns -errno.
/// Every register is named: g++ 12 generates longer code when some are constraints.
inline long raw_syscall(long number, long a, long b, long c, long d, long e, long f) noexcept {
  register long rax asm("rax") = number;
  register long rdi asm("rdi") = a;
  register long rsi asm("rsi") = b;
  register long rdx asm("rdx") = c;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "+r"(rax)
               : "r"(rdi), "r"(rsi), "r"(rdx), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return rax;
}

}  // namespace duolu
#endif
