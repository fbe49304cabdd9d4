// Public. Layer: poll. The words of readiness: what one waits for, and what one is told.
#pragma once

#include "duolu/base/standard.hpp"

#include <cstdint>
#include <string>
#include <type_traits>

namespace duolu {

/// The directions a registration waits for; combine with `|`.
///
/// The values are those of POLLIN, POLLPRI and POLLOUT, and of Ready's bits of the same name.
enum class Interest : std::uint8_t {
  none = 0,      ///< Paused: nothing at all is reported, hang-up and error neither.
  readable = 1,  ///< recv, read or accept would not block (end of stream included).
  priority = 2,  ///< Exceptional condition: TCP urgent data, a packet-mode pty, sysfs and others.
  writable = 4,  ///< send or write would take something; a connect(2) in progress has ended.
};

/// What was found true of a descriptor. The first three answer an Interest, the others come
/// unasked.
enum class Ready : std::uint32_t {
  none = 0,
  readable = 0x1,
  priority = 0x2,
  writable = 0x4,
  error = 0x8,           ///< An error is pending: the next read or write, or SO_ERROR, tells which.
  hangup = 0x10,         ///< Both directions are shut, or the pipe's or terminal's peer is gone.
  invalid = 0x20,        ///< The descriptor was closed under the registration, which is now paused.
  read_closed = 0x2000,  ///< The peer shut down its writing half: read to the end, then it is over.
};

/// When a registration reports. The contract is in docs/contracts.md, clauses P20 to P29.
enum class Trigger : std::uint8_t {
  level,    ///< In every wait, as long as the condition holds.
  edge,     ///< Once, then silent in that direction until `Poller::drained` was called for it and
            ///< the condition came about anew. Extra reports are possible.
  oneshot,  ///< Once; then the whole registration is paused until the next `Poller::modify`.
};

template <class E>
inline constexpr bool is_flags = std::is_same_v<E, Interest> || std::is_same_v<E, Ready>;

template <class E>
  requires is_flags<E>
[[nodiscard]] constexpr E operator|(E a, E b) noexcept {
  using U = std::underlying_type_t<E>;
  return static_cast<E>(static_cast<U>(a) | static_cast<U>(b));
}
template <class E>
  requires is_flags<E>
[[nodiscard]] constexpr E operator&(E a, E b) noexcept {
  using U = std::underlying_type_t<E>;
  return static_cast<E>(static_cast<U>(a) & static_cast<U>(b));
}
/// The bits of `a` that are not in `b`.
template <class E>
  requires is_flags<E>
[[nodiscard]] constexpr E operator-(E a, E b) noexcept {
  using U = std::underlying_type_t<E>;
  return static_cast<E>(static_cast<U>(a) & static_cast<U>(~static_cast<U>(b)));
}
template <class E>
  requires is_flags<E>
constexpr E& operator|=(E& a, E b) noexcept {
  return a = a | b;
}
/// Whether `set` has any of the bits of `bits`.
template <class E>
  requires is_flags<E>
[[nodiscard]] constexpr bool any(E set, E bits) noexcept {
  return (set & bits) != E{};
}

/// Names one registration: a slot of its Poller and the slot's generation, so that a token that
/// was removed never means another registration. The value 0 is never given out.
enum class Token : std::uint64_t {};

/// The slot a token names: small, dense numbers from 1, each reused after `remove`. Good as an
/// index into a table of one's own.
[[nodiscard]] constexpr std::uint32_t slot_of(Token token) noexcept {
  return static_cast<std::uint32_t>(token);
}

/// One report: which registration, what is true of it, and the caller's own word for it.
struct Event {
  Token token{};
  Ready ready{};
  std::uint64_t data = 0;  ///< As given to `Poller::add` or `Poller::set_data`.

  [[nodiscard]] constexpr bool readable() const noexcept { return any(ready, Ready::readable); }
  [[nodiscard]] constexpr bool writable() const noexcept { return any(ready, Ready::writable); }
  [[nodiscard]] constexpr bool priority() const noexcept { return any(ready, Ready::priority); }
  [[nodiscard]] constexpr bool error() const noexcept { return any(ready, Ready::error); }
  [[nodiscard]] constexpr bool hangup() const noexcept { return any(ready, Ready::hangup); }
  [[nodiscard]] constexpr bool invalid() const noexcept { return any(ready, Ready::invalid); }
  [[nodiscard]] constexpr bool read_closed() const noexcept {
    return any(ready, Ready::read_closed);
  }
  /// Whether a short read or write may stand for "drained" on a stream socket: not after an end, an
  /// error or urgent data was reported, because then more can follow that no new edge announces.
  [[nodiscard]] constexpr bool short_means_drained() const noexcept {
    return !any(ready, Ready::error | Ready::hangup | Ready::read_closed | Ready::priority);
  }
};

/// "readable|hangup", for people.
[[nodiscard]] std::string to_string(Ready ready);
[[nodiscard]] std::string to_string(Interest interest);
[[nodiscard]] const char* to_string(Trigger trigger) noexcept;

}  // namespace duolu
