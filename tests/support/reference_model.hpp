// The readiness contract for one registration, executable: docs/contracts.md, clauses P1 to P8 and
// P20 to P27, with the rows D1 and D3 of its table. Written to be read beside the clauses. It knows
// no descriptors: what poll(2) says of its own is told to it.
#pragma once

#include <cerrno>

#include "duolu/poll/backends.hpp"
#include "duolu/poll/event.hpp"

namespace duolu::test {

/// How a backend may differ, by the table "Where backends differ".
struct Dialect {
  bool native_edge = false;  ///< D1: what newly arrives is reported before `drained`, too.
  bool select_sets = false;  ///< D3: only what wakes one of select(2)'s three sets is told.

  [[nodiscard]] static Dialect of(const BackendTraits& traits) {
    return {.native_edge = traits.native_edge, .select_sets = traits.three_sets};
  }
};

class ReferenceModel {
 public:
  /// What the next wait has to report, and the most it may: must <= report <= may. Level and
  /// oneshot leave no choice; edge may report more often than it must (P21).
  struct Expected {
    Ready must{};
    Ready may{};
    [[nodiscard]] bool allows(Ready report) const {
      return (report & must) == must && report - may == Ready::none;
    }
    friend bool operator==(const Expected&, const Expected&) = default;
  };

  explicit ReferenceModel(Dialect dialect) : dialect_(dialect) {}

  // --- what happens to the descriptor

  /// `truth` is what poll(2) says now, asked for everything; `arrived` are the bits that came about
  /// anew although they were true before: more data.
  void world(Ready truth, Ready arrived = Ready::none) {
    const Ready news = (truth - truth_) | arrived;
    truth_ = truth;
    if (any(news, Ready::readable | Ready::read_closed)) fresh_ |= Interest::readable;  // P24
    if (any(news, Ready::writable)) fresh_ |= Interest::writable;
    if (any(news, Ready::priority)) fresh_ |= Interest::priority;
    if (any(news, terminal)) fresh_ |= everything;  // P6, P24: an end concerns every direction
  }

  // --- what the caller does; the result is 0 or the errno it has to get

  int add(Interest interest, Trigger trigger) {
    if (registered_) return EEXIST;  // P2
    registered_ = true;
    fired_ = dead_ = false;
    interest_ = interest;
    trigger_ = trigger;
    arm(everything);  // P21, P26: what is true at `add` counts
    return 0;
  }
  int modify(Interest interest, Trigger trigger) {
    if (!registered_) return ENOENT;  // P2
    if (dead_) return EBADF;          // P7
    const bool all = interest == interest_ || trigger != trigger_;
    arm(all ? everything : interest - interest_);  // P22
    fired_ = false;                                // P25, P26
    interest_ = interest;
    trigger_ = trigger;  // P27
    return 0;
  }
  int remove() {
    if (!registered_) return ENOENT;  // P2, P3
    registered_ = false;
    return 0;
  }
  void drained(Interest directions) { open_ |= directions; }  // P23

  // --- what a wait says

  [[nodiscard]] Expected expected() const {
    if (!registered_ || dead_ || fired_) return {};                                   // P4, P7, P25
    if (trigger_ != Trigger::edge) return {told(interest_), told(interest_)};         // P20, P26
    const Interest looked_at = dialect_.native_edge ? interest_ : interest_ & open_;  // P23, D1
    return {told(looked_at & fresh_), told(looked_at)};  // P21, P22, P24
  }
  void reported(Ready report) {
    if (report == Ready::none) return;
    if (trigger_ == Trigger::oneshot) fired_ = true;  // P25
    if (any(report, Ready::invalid)) dead_ = true;    // P7
    const Interest said = any(report, terminal) ? everything : Interest(report & Ready(7));
    fresh_ = fresh_ - said;
    open_ = open_ - said;
  }

  [[nodiscard]] bool registered() const { return registered_; }
  [[nodiscard]] Interest interest() const { return interest_; }
  [[nodiscard]] Trigger trigger() const { return trigger_; }
  [[nodiscard]] Ready truth() const { return truth_; }

 private:
  static constexpr Interest everything =
      Interest::readable | Interest::priority | Interest::writable;
  static constexpr Ready terminal = Ready::error | Ready::hangup | Ready::invalid;

  void arm(Interest directions) {
    fresh_ |= directions;
    open_ |= directions;
  }

  /// What is reported when the backend looks in these directions.
  [[nodiscard]] Ready told(Interest directions) const {
    if (directions == Interest::none) return Ready::none;  // P5
    Ready seen = truth_ & (Ready(directions) | terminal);  // P6
    if (any(directions, Interest::readable)) seen |= truth_ & Ready::read_closed;
    if (dialect_.select_sets && !wakes_select(directions)) return Ready::none;
    if (any(seen, terminal)) seen |= Ready(interest_) & Ready(both);
    return seen;
  }
  /// D3: what each of select(2)'s sets stands for.
  [[nodiscard]] bool wakes_select(Interest directions) const {
    Ready sets = Ready::invalid | Ready(directions);
    if (any(directions, Interest::readable)) sets |= Ready::hangup | Ready::error;
    if (any(directions, Interest::writable)) sets |= Ready::error;
    return any(truth_, sets);
  }
  static constexpr Interest both = Interest::readable | Interest::writable;

  Dialect dialect_;
  Ready truth_{};
  bool registered_ = false;
  Interest interest_{};
  Trigger trigger_{};
  bool dead_ = false;   ///< Was reported as invalid.
  bool fired_ = false;  ///< Oneshot: has reported since it was armed.
  Interest fresh_{};    ///< Edge: something came about here that no report has told yet.
  Interest open_{};     ///< Edge: armed, or drained, since the last report.
};

}  // namespace duolu::test
