// Public. Layer: poll. The types of readiness: what to wait for, and what is reported.
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
  none = 0,      ///< Paused: nothing is reported, not even hang-up and error.
  readable = 1,  ///< recv, read or accept would not block (end of stream included).
  priority = 2,  ///< Exceptional condition: TCP urgent data, a packet-mode pty, sysfs and others.
  writable = 4,  ///< send or write would take bytes; a connect(2) in progress has ended.
};

/// The state a descriptor was found in. The first three are reported if the Interest has them, the
/// others without being asked for.
enum class Ready : std::uint32_t {
  none = 0,
  readable = 0x1,
  priority = 0x2,
  writable = 0x4,
  error = 0x8,           ///< An error is pending: the next read or write, or SO_ERROR, returns it.
  hangup = 0x10,         ///< Both directions are shut down, or a pipe's or terminal's peer closed.
  invalid = 0x20,        ///< The descriptor was closed while registered; now paused for good.
  read_closed = 0x2000,  ///< The peer shut down its writing half: unread data, then the end.
};

/// When a registration reports. The contract is in docs/contracts.md, clauses P20 to P29.
enum class Trigger : std::uint8_t {
  level,    ///< In every wait, as long as the condition holds.
  edge,     ///< Once, then silent in that direction until `Poller::drained` was called for it and
            ///< the condition became true again. Extra reports are possible.
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

/// Names one registration: a slot of its Poller and the slot's generation, so that the token of a
/// removed registration never names another one. 0 is never a token.
enum class Token : std::uint64_t {};

/// The slot a token names: small, dense numbers from 1, each reused after `remove`. Usable as an
/// index into the caller's own table.
[[nodiscard]] constexpr std::uint32_t slot_of(Token token) noexcept {
  return static_cast<std::uint32_t>(token);
}

/// One report: which registration, its state, and the caller's own data.
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
  /// Whether a short read or write means "drained" on a stream socket. It does not after an end, an
  /// error or urgent data was reported: then more can follow without a new edge.
  [[nodiscard]] constexpr bool short_means_drained() const noexcept {
    return !any(ready, Ready::error | Ready::hangup | Ready::read_closed | Ready::priority);
  }
};

/// "readable|hangup", for people.
[[nodiscard]] std::string to_string(Ready ready);
[[nodiscard]] std::string to_string(Interest interest);
[[nodiscard]] const char* to_string(Trigger trigger) noexcept;

}  // namespace duolu
