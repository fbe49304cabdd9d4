// Every sequence of up to DUOLU_EXHAUSTIVE_DEPTH operations on one registration, on the real
// kernel, against the reference model: a small scope, searched whole. The descriptor is one end of
// an AF_UNIX stream pair, a write has two bytes, a partial read takes one.
//
// Three passes say when waits happen: after every operation, to the full depth (the beginning of a
// sequence is a sequence, so the shorter ones are in); only at the end, for every length up to the
// depth (P8: what cancels out between two waits); and, two operations shorter, for every subset of
// the places.
//
// Left out is only what cannot be done or does nothing new: a closed peer neither writes nor closes
// again; a partial read where there is nothing to read gives the sequence without it; and calls
// that must fail (EEXIST, ENOENT) are made with one interest only. Their error is checked, and the
// sequence goes on.
#include <poll.h>

#include <cstdio>
#include <cstdlib>

#include "support/conformance.hpp"
#include "support/reference_model.hpp"

namespace duolu::test {
namespace {

constexpr unsigned default_depth = 5;  // 6 takes 25 s on each backend, and ./test --soak goes to 7
constexpr unsigned deepest = 8;

unsigned depth() {
  const char* text = std::getenv("DUOLU_EXHAUSTIVE_DEPTH");
  return text == nullptr ? default_depth : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

enum class Op : std::uint8_t {
  add,
  modify_none,
  modify_readable,
  modify_writable,
  modify_both,
  modify_next,            ///< Level becomes edge, edge oneshot, oneshot level.
  modify_next_other,      ///< And readable becomes readable|writable, anything else readable.
  modify_previous_other,  ///< The other way round.
  peer_writes,
  partial_read,
  drain,
  peer_closes,
  remove,
};
constexpr const char* op_names[] = {
    "add(readable)",
    "modify(none)",
    "modify(readable)",
    "modify(writable)",
    "modify(readable|writable)",
    "modify(same interest, next trigger)",
    "modify(other interest, next trigger)",
    "modify(other interest, previous trigger)",
    "peer writes 2 bytes",
    "read 1 byte",
    "read to EAGAIN or the end, drained(readable)",
    "peer closes",
    "remove",
};
constexpr std::size_t op_count = std::size(op_names);

constexpr Interest both = Interest::readable | Interest::writable;

/// One end of a stream pair whose own writes never fill anything, and whether it is registered.
struct Scope {
  unsigned unread = 0;
  bool peer_closed = false;
  bool registered = false;

  /// See the top of this file for what is left out.
  [[nodiscard]] bool goes_on_with(Op op) const {
    if (op == Op::peer_writes || op == Op::peer_closes) return !peer_closed;
    if (op == Op::partial_read) return unread > 0;
    if (op > Op::modify_none && op <= Op::modify_previous_other) return registered;
    return true;
  }
  void apply(Op op) {
    if (op == Op::peer_writes) unread += 2;
    if (op == Op::partial_read) --unread;
    if (op == Op::drain) unread = 0;
    if (op == Op::peer_closes) peer_closed = true;
    if (op == Op::add) registered = true;
    if (op == Op::remove) registered = false;
  }
  /// What poll(2) says.
  [[nodiscard]] Ready truth() const {
    Ready ready = Ready::writable;
    if (unread > 0 || peer_closed) ready |= Ready::readable;
    if (peer_closed) ready |= Ready::read_closed | Ready::hangup;
    return ready;
  }
};

class ExhaustiveTest : public Conformance {
 protected:
  using Sequence = std::vector<Op>;

  /// Calls `visit` with every sequence of exactly `length` operations.
  template <class Visit>
  void each_sequence(unsigned length, const Visit& visit) {
    Sequence sequence;
    extend(sequence, Scope{}, length, visit);
  }

  /// Runs one sequence; bit i of `waits` asks for a wait after operation i.
  void run(const Sequence& sequence, unsigned waits) {
    ++sequences;
    if (!pair.a) pair = unix_pair();
    Scope scope;
    ReferenceModel model(Dialect::of(GetParam().traits()));
    model.world(scope.truth());
    Token token{};
    for (std::size_t at = 0; at < sequence.size(); ++at) {
      const Op op = sequence[at];
      const auto [got, want] = perform(op, model, token);
      ++checks;
      if (got != want)
        return mismatch(sequence, waits, at, std::strerror(want), std::strerror(got));
      scope.apply(op);
      model.world(scope.truth(), op == Op::peer_writes ? Ready::readable : Ready::none);
      if ((waits >> at & 1U) != 0 && !check(sequence, waits, at, model, token)) return;
    }
    // What is left over goes; the pair serves on unless its peer is gone.
    if (model.registered()) (void)poller->remove(token);
    if (scope.peer_closed)
      pair = {};
    else if (scope.unread > 0)
      (void)drain(pair.a.get());
  }

  [[nodiscard]] bool failed() const { return HasFailure(); }

  std::uint64_t sequences = 0;
  std::uint64_t checks = 0;

 private:
  template <class Visit>
  void extend(Sequence& sequence, Scope scope, unsigned left, const Visit& visit) {
    if (left == 0) return visit(sequence);
    for (std::size_t i = 0; i < op_count && !failed(); ++i) {
      const Op op{static_cast<std::uint8_t>(i)};
      if (!scope.goes_on_with(op)) continue;
      Scope next = scope;
      next.apply(op);
      sequence.push_back(op);
      extend(sequence, next, left - 1, visit);
      sequence.pop_back();
    }
  }

  /// A call to modify, from what the model holds now.
  struct Change {
    Interest interest;
    Trigger trigger;
  };
  [[nodiscard]] static Change change(Op op, const ReferenceModel& model) {
    const auto turned = [&](unsigned by) {
      return static_cast<Trigger>((static_cast<unsigned>(model.trigger()) + by) % 3);
    };
    const Interest other = model.interest() == Interest::readable ? both : Interest::readable;
    switch (op) {
      case Op::modify_none: return {Interest::none, model.trigger()};
      case Op::modify_readable: return {Interest::readable, model.trigger()};
      case Op::modify_writable: return {Interest::writable, model.trigger()};
      case Op::modify_both: return {both, model.trigger()};
      case Op::modify_next: return {model.interest(), turned(1)};
      case Op::modify_next_other: return {other, turned(1)};
      default: return {other, turned(2)};
    }
  }

  /// The errno an operation got, and the one it should get.
  struct Outcome {
    int got = 0;
    int want = 0;
  };
  /// Does it, and tells the model.
  Outcome perform(Op op, ReferenceModel& model, Token& token) {
    const int a = pair.a.get();
    char byte = 0;
    switch (op) {
      case Op::add: return {add(a, token), model.add(Interest::readable, trigger())};
      case Op::peer_writes: return {::write(pair.b.get(), "xy", 2) == 2 ? 0 : EIO, 0};
      case Op::partial_read: return {::read(a, &byte, 1) == 1 ? 0 : EIO, 0};
      case Op::drain:
        (void)duolu::test::drain(a);
        poller->drained(token, Interest::readable);
        model.drained(Interest::readable);
        return {};
      case Op::peer_closes: return {close_peer(), 0};
      case Op::remove: return {error(poller->remove(token)), model.remove()};
      default: break;
    }
    const Change to = change(op, model);
    const bool keeps_trigger = to.trigger == model.trigger();
    return {error(keeps_trigger ? poller->modify(token, to.interest)
                                : poller->modify(token, to.interest, to.trigger)),
            model.modify(to.interest, to.trigger)};
  }

  /// Closes, and sees it arrive: somebody who looks through /proc at that moment holds the file for
  /// a little longer.
  int close_peer() {
    pair.b.reset();
    pollfd seen{pair.a.get(), 0, 0};
    return ::poll(&seen, 1, 5000) == 1 && (seen.revents & POLLHUP) != 0 ? 0 : ETIMEDOUT;
  }

  int add(int fd, Token& token) {
    const Result<Token> added = poller->add(fd, Interest::readable, trigger(), ++data_);
    if (!added) {
      --data_;
      return added.error().value();
    }
    // P3: what named the registration before names nothing now.
    if (*added == token || poller->modify(token, Interest::none)) return EBADMSG;
    token = *added;
    return 0;
  }
  static int error(const Result<>& result) { return result ? 0 : result.error().value(); }

  bool check(const Sequence& sequence, unsigned waits, std::size_t at, ReferenceModel& model,
             Token token) {
    ++checks;
    const ReferenceModel::Expected expected = model.expected();
    Ready got = Ready::none;
    unsigned count = 0;
    bool foreign = false;
    const Result<Poller::Batch> batch = poller->wait(immediately);
    if (batch) {
      for (const Event& event : *batch) {
        ++count;
        got |= event.ready;
        foreign = foreign || event.token != token || event.data != data_;  // P1, P3, P4
      }
    }
    if (batch && count <= 1 && !foreign && expected.allows(got) &&
        poller->size() == (model.registered() ? 1U : 0U)) {
      model.reported(got);
      return true;
    }
    std::string want = "at least " + to_string(expected.must);
    want += ", at most " + to_string(expected.may);
    std::string found = batch ? to_string(got) : batch.error().message();
    if (count > 1) found += ", in " + std::to_string(count) + " events";
    if (foreign) found += ", of another registration";
    found += ", size " + std::to_string(poller->size());
    mismatch(sequence, waits, at, want, found);
    return false;
  }

  void mismatch(const Sequence& sequence, unsigned waits, std::size_t at, const std::string& want,
                const std::string& got) {
    std::string text;
    for (std::size_t i = 0; i <= at; ++i) {
      text += "\n  " + std::string(op_names[static_cast<std::size_t>(sequence[i])]);
      if ((waits >> i & 1U) != 0) text += i == at ? "; wait, which mismatches" : "; wait";
    }
    ADD_FAILURE() << GetParam().name() << text << "\nexpected: " << want << "\ngot:      " << got;
  }

  Pair pair;
  std::uint64_t data_ = 0;
};

TEST_P(ExhaustiveTest, P1_to_P8_P20_to_P27_every_short_sequence_matches_the_model) {
  const unsigned most = depth();
  ASSERT_TRUE(most >= 1 && most <= deepest) << "DUOLU_EXHAUSTIVE_DEPTH";
  const auto every = [](std::size_t length) { return (1U << length) - 1; };
  each_sequence(most, [&](const Sequence& s) { run(s, every(s.size())); });
  for (unsigned length = 1; length <= most; ++length)
    each_sequence(length, [&](const Sequence& s) { run(s, 1U << (length - 1)); });
  if (most > 2)
    each_sequence(most - 2, [&](const Sequence& s) {
      for (unsigned waits = 0; waits <= every(s.size() - 1) && !failed(); ++waits)
        run(s, waits | 1U << (s.size() - 1));
    });

  std::printf("report: exhaustive: %llu sequences, %llu checks, %s/%s, depth %u\n",
              static_cast<unsigned long long>(sequences), static_cast<unsigned long long>(checks),
              GetParam().backend->name.data(), to_string(trigger()), most);
  RecordProperty("sequences", std::to_string(sequences));
  RecordProperty("checks", std::to_string(checks));
  // More than eight operations go on from most places.
  std::uint64_t floor = 1;
  for (unsigned i = 0; i < most; ++i) floor *= 8;
  EXPECT_GE(sequences, floor);
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(ExhaustiveTest);

}  // namespace
}  // namespace duolu::test
