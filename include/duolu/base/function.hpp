// Public. Layer: base. Function<R(Args...)>: a callable that can be moved but not copied.
//
// The equal of std::move_only_function, which libc++ and Apple's compiler lack (as of 19). A
// callable of up to three pointers whose move does not throw is stored inside; others take memory
// from operator new.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "duolu/base/standard.hpp"

namespace duolu {

template <class Signature>
class Function;

/// Holds one callable, or none. One thread at a time; calling one that holds none is undefined.
template <class R, class... Args>
class Function<R(Args...)> {
 public:
  Function() noexcept = default;
  Function(std::nullptr_t) noexcept {}
  /// Holds `callable`; none if that is a null pointer to a function. May throw std::bad_alloc, and
  /// what the callable's constructor throws.
  template <class Callable>
    requires(!std::same_as<std::remove_cvref_t<Callable>, Function> &&
             std::is_invocable_r_v<R, std::decay_t<Callable>&, Args...> &&
             !std::is_member_pointer_v<std::decay_t<Callable>>)
  Function(Callable&& callable) {
    using Held = std::decay_t<Callable>;
    if constexpr (std::is_pointer_v<Held>)
      if (callable == nullptr) return;
    if constexpr (inside<Held>)
      std::construct_at(reinterpret_cast<Held*>(storage_), std::forward<Callable>(callable));
    else
      *reinterpret_cast<Held**>(storage_) = new Held(std::forward<Callable>(callable));
    call_ = &call<Held>;
    manage_ = &manage<Held>;
  }
  Function(Function&& other) noexcept { take(other); }
  Function& operator=(Function&& other) noexcept {
    if (this != &other) {
      reset();
      take(other);
    }
    return *this;
  }
  ~Function() { reset(); }

  explicit operator bool() const noexcept { return call_ != nullptr; }
  // NOLINTNEXTLINE(performance-unnecessary-value-param,clang-analyzer-core.CallAndMessage)
  R operator()(Args... args) { return call_(storage_, std::forward<Args>(args)...); }

 private:
  template <class Held>
  static constexpr bool inside =
      sizeof(Held) <= 3 * sizeof(void*) && alignof(Held) <= alignof(void*) &&
      std::is_nothrow_move_constructible_v<Held>;

  template <class Held>
  static Held& held(std::byte* storage) noexcept {
    if constexpr (inside<Held>)
      return *std::launder(reinterpret_cast<Held*>(storage));
    else
      return **reinterpret_cast<Held**>(storage);
  }
  template <class Held>
  static R call(std::byte* storage, Args&&... args) {
    if constexpr (std::is_void_v<R>)
      (void)held<Held>(storage)(std::forward<Args>(args)...);
    else
      return held<Held>(storage)(std::forward<Args>(args)...);
  }
  /// Moves what is at `from` to `to`, or destroys it if `to` is null.
  template <class Held>
  static void manage(std::byte* from, std::byte* to) noexcept {
    if constexpr (inside<Held>) {
      Held& old = held<Held>(from);
      if (to != nullptr) std::construct_at(reinterpret_cast<Held*>(to), std::move(old));
      std::destroy_at(&old);
    } else if (to != nullptr) {
      *reinterpret_cast<Held**>(to) = &held<Held>(from);
    } else {
      delete &held<Held>(from);
    }
  }
  void take(Function& other) noexcept {
    if (other.call_ == nullptr) return;
    other.manage_(other.storage_, storage_);
    manage_ = std::exchange(other.manage_, nullptr);
    call_ = std::exchange(other.call_, nullptr);
  }
  void reset() noexcept {
    if (call_ == nullptr) return;
    call_ = nullptr;
    std::exchange(manage_, nullptr)(storage_, nullptr);
  }

  R (*call_)(std::byte*, Args&&...) = nullptr;
  void (*manage_)(std::byte*, std::byte*) noexcept = nullptr;
  alignas(void*) std::byte storage_[3 * sizeof(void*)];
};

}  // namespace duolu
