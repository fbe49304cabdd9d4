// The same random script on every backend, each with descriptors of its own, in lockstep.
//
// Every backend has a world: a poller and about a dozen descriptors of mixed kind. After each
// operation poll(2) is asked what is true of every descriptor; the worlds must agree in that (a
// delayed acknowledgement may take its time, so there is a short wait for it) before their reports
// are compared. Level and oneshot must be equal, bit by bit. Edge may report more often than it
// must, so there, and everywhere else too, each report is held against the reference model.
//
// DUOLU_DIFFERENTIAL_SECONDS  how long to go on with new seeds, 5 by default
// DUOLU_SEED                  runs this seed only, and prints what happens
//
// A vanished descriptor (D2) is a step of its own, so that its number cannot come back meanwhile.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "duolu/base/prng.hpp"
#include "support/conformance.hpp"
#include "support/reference_model.hpp"

namespace duolu::test {
namespace {

constexpr Interest both = Interest::readable | Interest::writable;
constexpr unsigned floor_of_seeds = 200;
constexpr unsigned steps_a_seed = 120;

/// For a failing test to say which descriptors, steps and reports led to it.
struct Log {
  bool on = false;
  template <class... Parts>
  void line(const Parts&... parts) const {
    std::string text;
    if (on) std::puts((text.append(parts), ..., text.c_str()));
  }
};

// --- descriptors

enum class Kind : std::uint8_t { unix_stream, tcp, pipe, unix_datagram, udp, event };
constexpr const char* kind_names[] = {"unix stream",   "tcp", "pipe",
                                      "unix datagram", "udp", "eventfd"};
constexpr std::size_t kind_count = std::size(kind_names);

Pair udp_pair() {
  sockaddr_in address[2]{};
  int fds[2];
  for (int i = 0; i < 2; ++i) {
    address[i].sin_family = AF_INET;
    address[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address[i];
    auto* generic = reinterpret_cast<sockaddr*>(&address[i]);
    fds[i] = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fds[i] < 0 || ::bind(fds[i], generic, size) != 0 ||
        ::getsockname(fds[i], generic, &size) != 0)
      std::abort();
  }
  for (int i = 0; i < 2; ++i)
    if (::connect(fds[i], reinterpret_cast<sockaddr*>(&address[1 - i]), sizeof address[0]) != 0)
      std::abort();
  return {Fd(real_kernel(), fds[0]), Fd(real_kernel(), fds[1])};
}

void set_option(int fd, int level, int name, int value) {
  if (::setsockopt(fd, level, name, &value, sizeof value) != 0) std::abort();
}

/// Small buffers, so that a fill is short; no delay of small segments, which no test could wait
/// for.
Pair make_pair(Kind kind) {
  Pair pair;
  switch (kind) {
    case Kind::unix_stream: pair = unix_pair(); break;
    case Kind::tcp: pair = tcp_pair(); break;
    case Kind::pipe: pair = pipe_pair(); break;
    case Kind::unix_datagram: pair = unix_pair(SOCK_DGRAM); break;
    case Kind::udp: pair = udp_pair(); break;
    case Kind::event: pair.a = Fd(real_kernel(), real_kernel().eventfd()); break;
  }
  for (const Fd* fd : {&pair.a, &pair.b}) {
    if (kind == Kind::unix_stream || kind == Kind::unix_datagram || kind == Kind::tcp)
      set_option(fd->get(), SOL_SOCKET, SO_SNDBUF, 16384);
    if (kind == Kind::tcp) {
      set_option(fd->get(), SOL_SOCKET, SO_RCVBUF, 32768);
      set_option(fd->get(), IPPROTO_TCP, TCP_NODELAY, 1);
    }
  }
  if (kind == Kind::pipe) (void)::fcntl(pair.a.get(), F_SETPIPE_SZ, 16384);
  return pair;
}

/// Reads up to `limit` bytes, at most to EAGAIN or the end; passes over errors, which reading
/// takes.
void read_some(int fd, std::size_t limit) {
  std::array<char, 4096> buffer;
  for (int errors = 0; limit > 0 && errors < 4;) {
    const ssize_t got = ::read(fd, buffer.data(), std::min(limit, buffer.size()));
    if (got == 0 || (got < 0 && errno == EAGAIN)) return;
    if (got < 0)
      ++errors;
    else
      limit -= static_cast<std::size_t>(got);
  }
}

// --- one backend and its descriptors

/// One descriptor of a world. `open` and what the registration is asked for are the same in every
/// world; the rest is the world's own.
struct End {
  Fd fd;
  Fd ghost;                ///< A dup that outlives a descriptor which was closed while registered.
  bool vanished = false;   ///< Closed under its registration (D2).
  bool noticeable = true;  ///< And this backend must have noticed.
  Ready arrived{};         ///< What came since poll(2) was last asked, if that is sure.
  Ready before{};          ///< What poll(2) said when the wait began,
  Ready after{};           ///< and when it had returned.
  ReferenceModel model;
  ReferenceModel::Expected expected;
  Token token{};
  std::uint64_t data = 0;
  Ready got{};
  unsigned events = 0;

  explicit End(Dialect dialect) : model(dialect) {}
};

class World {
 public:
  World(const Backend& row, std::size_t count)
      : backend(&row),
        poller(row.make(real_kernel(), {}).value()),
        dialect(Dialect::of(row.traits)) {
    for (std::size_t i = 0; i < count; ++i) ends.emplace_back(dialect);
    asked_.resize(count);
  }

  /// Asks poll(2) about every descriptor; puts the answers into `after`.
  void look() {
    for (std::size_t i = 0; i < ends.size(); ++i)
      asked_[i] = {
          .fd = ends[i].fd.get(), .events = POLLIN | POLLPRI | POLLOUT | POLLRDHUP, .revents = 0};
    if (::poll(asked_.data(), asked_.size(), 0) < 0) std::abort();
    for (std::size_t i = 0; i < ends.size(); ++i) {
      End& end = ends[i];
      end.after = static_cast<Ready>(asked_[i].revents);
      if (end.vanished) end.after = end.noticeable ? Ready::invalid : Ready::none;
    }
  }

  const Backend* backend;
  std::unique_ptr<Poller> poller;
  Dialect dialect;
  std::vector<End> ends;

 private:
  std::vector<pollfd> asked_;
};

/// What has been done, over all seeds.
struct Totals {
  std::uint64_t steps = 0;
  std::uint64_t waits = 0;
  std::uint64_t reports = 0;    ///< Registrations that some backend reported in a wait.
  std::uint64_t equal = 0;      ///< Of them, those compared bit by bit between the backends.
  std::uint64_t repeats = 0;    ///< Edges that were ready, in a wait after which nothing happened,
  std::uint64_t extra = 0;      ///< and those of them that the next wait reported.
  std::uint64_t unsettled = 0;  ///< Waits before which the worlds did not come to agree.
};

// --- a script

class Script {
 public:
  Script(std::uint64_t seed, Log log, Totals& totals) : random_(seed), log_(log), totals_(totals) {
    while (lines_.size() * 2 < 12) {
      const Kind kind{static_cast<std::uint8_t>(random_.below(kind_count))};
      lines_.push_back(kind);
    }
    for (const Backend& row : backends())
      if (row.probe(real_kernel()).works()) worlds_.emplace_back(row, lines_.size() * 2);
    for (std::size_t line = 0; line < lines_.size(); ++line) renew(line);
    follow();
  }
  ~Script() {
    for (std::size_t line = 0; line < lines_.size(); ++line) close_line(line);
  }
  Script(const Script&) = delete;
  Script& operator=(const Script&) = delete;

  void run() {
    for (unsigned i = 0; i < steps_a_seed && !failed_; ++i) {
      ++totals_.steps;
      step();
      follow();
      if (random_.chance(1, 2)) wait();
      if (random_.chance(1, 16)) repeat();
    }
    if (!failed_) wait();
  }

 private:
  [[nodiscard]] static std::size_t peer_of(std::size_t e) { return e ^ 1U; }
  [[nodiscard]] Kind kind(std::size_t e) const { return lines_[e / 2]; }
  [[nodiscard]] const ReferenceModel& shared(std::size_t e) const {
    return worlds_.front().ends[e].model;
  }
  [[nodiscard]] bool open(std::size_t e) const {
    return static_cast<bool>(worlds_.front().ends[e].fd);
  }
  [[nodiscard]] bool has_urgent_data(std::size_t e) const {
    return kind(e) == Kind::tcp || kind(e) == Kind::unix_stream;
  }
  [[nodiscard]] bool registered(std::size_t e) const { return shared(e).registered(); }
  [[nodiscard]] std::string name(std::size_t e) const {
    return std::string(kind_names[static_cast<std::size_t>(kind(e))]) + " " +
           std::to_string(e / 2) + (e % 2 == 0 ? "a" : "b");
  }

  template <class Do>
  void everywhere(std::size_t e, const Do& act) {
    for (World& world : worlds_) act(world, world.ends[e]);
  }

  void fail(const World& world, std::size_t e, const std::string& what) {
    failed_ = true;
    const ReferenceModel& model = world.ends[e].model;
    ADD_FAILURE() << world.backend->name << ", " << name(e) << " ("
                  << (model.registered()
                          ? to_string(model.interest()) + " " + to_string(model.trigger())
                          : "not registered")
                  << "): " << what;
  }

  void expect_error(const World& world, std::size_t e, const char* call, int got, int want) {
    if (got != want)
      fail(world, e,
           std::string(call) + ": expected " + std::strerror(want) + ", got " + std::strerror(got));
  }
  static int error(const Result<>& result) { return result ? 0 : result.error().value(); }

  // --- registrations

  Interest some_interest() {
    // Mostly what people ask for; now and then urgent data, alone or beside it, or a pause.
    static constexpr Interest common[] = {Interest::readable, Interest::writable, both};
    return random_.chance(3, 4) ? common[random_.below(3)]
                                : static_cast<Interest>(random_.below(8));
  }
  Trigger some_trigger() { return static_cast<Trigger>(random_.below(3)); }

  void add(std::size_t e) {
    const Interest interest = some_interest();
    const Trigger trigger = some_trigger();
    const std::uint64_t data = ++data_;
    log_.line("add ", name(e), " ", to_string(interest), " ", to_string(trigger));
    everywhere(e, [&](World& world, End& end) {
      const Token old = end.token;
      const Result<Token> added = world.poller->add(end.fd.get(), interest, trigger, data);
      expect_error(world, e, "add", added ? 0 : added.error().value(),
                   end.model.add(interest, trigger));
      if (!added) return;
      end.token = *added;
      end.data = data;
      expect_error(world, e, "modify of the old token",
                   error(world.poller->modify(old, Interest::none)), ENOENT);
    });
  }

  void modify(std::size_t e, Interest interest, Trigger trigger) {
    log_.line("modify ", name(e), " ", to_string(interest), " ", to_string(trigger));
    everywhere(e, [&](World& world, End& end) {
      expect_error(world, e, "modify", error(world.poller->modify(end.token, interest, trigger)),
                   end.model.modify(interest, trigger));
    });
  }
  void modify(std::size_t e) {
    modify(e, random_.chance(1, 3) ? shared(e).interest() : some_interest(),
           random_.chance(2, 3) ? shared(e).trigger() : some_trigger());
  }

  void remove(std::size_t e) {
    log_.line("remove ", name(e));
    everywhere(e, [&](World& world, End& end) {
      expect_error(world, e, "remove", error(world.poller->remove(end.token)), end.model.remove());
    });
  }

  void set_data(std::size_t e) {
    const std::uint64_t data = ++data_;
    everywhere(e, [&](World& world, End& end) {
      const int result = error(world.poller->set_data(end.token, data));
      expect_error(world, e, "set_data", result, end.model.registered() ? 0 : ENOENT);
      end.data = data;
    });
  }

  void drained(std::size_t e, Interest directions) {
    everywhere(e, [&](World& world, End& end) {
      world.poller->drained(end.token, directions);
      end.model.drained(directions);
    });
  }

  // --- descriptors

  void renew(std::size_t line) {
    const Kind kind = lines_[line];
    close_line(line);
    for (World& world : worlds_) {
      Pair pair = make_pair(kind);
      world.ends[line * 2].fd = std::move(pair.a);
      world.ends[line * 2 + 1].fd = std::move(pair.b);
    }
    log_.line("new ", name(line * 2));
  }

  void close_line(std::size_t line) {
    for (const std::size_t e : {line * 2, line * 2 + 1}) {
      if (open(e)) close(e, lines_[line] == Kind::tcp);  // a reset leaves nothing in TIME-WAIT
      everywhere(e, [](World&, End& end) { end.ghost.reset(); });
    }
  }

  /// Closes an end, and takes it out of the poller before or after (P4).
  void close(std::size_t e, bool reset) {
    log_.line(reset ? "reset " : "close ", name(e));
    const bool first = random_.chance(1, 2);
    if (registered(e) && first) remove(e);
    everywhere(e, [&](World&, End& end) {
      const linger now{.l_onoff = 1, .l_linger = 0};
      if (reset) ::setsockopt(end.fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
      end.fd.reset();
    });
    if (registered(e)) remove(e);
  }

  /// P4: closed while registered, removed only then, while a dup keeps the file alive. In half of
  /// the cases the dup takes the number back, and it can be added again.
  void orphan(std::size_t e) {
    const bool back = random_.chance(1, 2);
    log_.line("orphan ", name(e), back ? " and back" : "");
    everywhere(e, [&](World& world, End& end) {
      const int number = end.fd.get();
      end.ghost = Fd(real_kernel(), ::fcntl(number, F_DUPFD_CLOEXEC, 0));
      end.fd.reset();
      expect_error(world, e, "remove", error(world.poller->remove(end.token)), end.model.remove());
      if (!back) return;
      if (::dup3(end.ghost.get(), number, O_CLOEXEC) != number) std::abort();
      end.fd = Fd(real_kernel(), number);
      end.ghost.reset();
    });
    if (back) add(e);
  }

  /// P7, D2: closed under the registration.
  void vanish(std::size_t e) {
    log_.line("vanish ", name(e));
    const Interest other =
        shared(e).interest() == Interest::readable ? Interest::writable : Interest::readable;
    everywhere(e, [](World& world, End& end) {
      end.fd.reset();
      end.vanished = true;
      const BackendTraits& traits = world.backend->traits;
      end.noticeable = traits.notices_close && !traits.holds_files;
    });
    follow();
    if (random_.chance(1, 3)) modify(e, Interest::none, shared(e).trigger());
    wait();
    modify(e, other, shared(e).trigger());
    // Where only the trigger changed of what is still asked for, a file that is held stays
    // unnoticed.
    everywhere(e,
               [](World& world, End& end) { end.noticeable = !world.backend->traits.holds_files; });
    follow();
    wait();
    modify(e, both, Trigger::level);
    everywhere(e, [](World&, End& end) { end.vanished = false, end.noticeable = true; });
    remove(e);
  }

  // --- transfers; `at` learns of what came

  void put(std::size_t e, std::size_t size) {
    static const std::array<char, 4096> block{};
    if (!open(e)) return;
    log_.line("write ", std::to_string(size), " to ", name(e));
    const std::size_t at = kind(e) == Kind::event ? e : peer_of(e);
    for (World& world : worlds_) {
      const std::uint64_t one = 1;
      const int fd = world.ends[e].fd.get();
      const ssize_t sent =
          kind(e) == Kind::event ? ::write(fd, &one, sizeof one) : ::write(fd, block.data(), size);
      // TCP may hold data back, so only a change that poll(2) sees is sure to have arrived.
      if (sent > 0 && kind(e) != Kind::tcp) world.ends[at].arrived |= Ready::readable;
    }
  }

  void fill(std::size_t e) {
    if (kind(e) == Kind::udp || !open(e)) return;  // UDP never fills
    log_.line("fill ", name(e));
    static const std::array<char, 4096> block{};
    const std::uint64_t most = ~std::uint64_t{1};
    const std::size_t at = kind(e) == Kind::event ? e : peer_of(e);
    for (World& world : worlds_) {
      const int fd = world.ends[e].fd.get();
      bool sent = false;
      if (kind(e) == Kind::event)
        sent = ::write(fd, &most, sizeof most) > 0;
      else
        while (::write(fd, block.data(), block.size()) > 0) sent = true;
      if (sent && kind(e) != Kind::tcp) world.ends[at].arrived |= Ready::readable;
    }
  }

  void take(std::size_t e, std::size_t limit, Interest directions) {
    log_.line("read ", limit == all ? "all" : std::to_string(limit), " of ", name(e),
              directions == Interest::none ? "" : ", drained");
    everywhere(e, [&](World&, End& end) { read_some(end.fd.get(), limit); });
    drained(e, directions);
  }

  void send_urgent(std::size_t e) {
    if (!has_urgent_data(e) || !open(e)) return put(e, 1);
    log_.line("urgent data to ", name(e));
    everywhere(e, [](World&, End& end) { (void)::send(end.fd.get(), "!", 1, MSG_OOB); });
  }

  void take_urgent(std::size_t e) {
    if (!has_urgent_data(e)) return take(e, all, Interest::readable);
    log_.line("read urgent data of ", name(e));
    everywhere(e, [](World&, End& end) {
      char byte;
      (void)::recv(end.fd.get(), &byte, 1, MSG_OOB);
    });
    drained(e, Interest::priority);
  }

  void shut(std::size_t e) {
    log_.line("shutdown(SHUT_WR) ", name(e));
    everywhere(e, [](World&, End& end) { (void)::shutdown(end.fd.get(), SHUT_WR); });
  }

  void wake() {
    log_.line("wake");
    for (World& world : worlds_) world.poller->wake();
    woken_ = true;
  }

  void step() {
    auto e = static_cast<std::size_t>(random_.below(lines_.size() * 2));
    if (kind(e) == Kind::event) e &= ~std::size_t{1};
    if (!open(e)) {
      if (random_.chance(1, 3)) renew(e / 2);
      return;
    }
    const std::uint64_t dice = random_.below(100);
    if (!registered(e) && dice < 50) return add(e);
    if (dice < 18) return modify(e);
    if (dice < 21) return remove(e);
    if (dice < 23) return add(e);  // EEXIST, if it is registered
    if (dice < 25) return set_data(e);
    if (dice < 27) return wake();
    if (dice < 45) return put(peer_or_self(e), random_.between(1, 4000));
    if (dice < 53) return take(e, random_.between(1, 4000), Interest::none);
    if (dice < 70) return take(e, all, Interest::readable);
    if (dice < 78) {
      fill(e);
      return drained(e, Interest::writable);
    }
    if (dice < 82) return send_urgent(peer_or_self(e));
    if (dice < 86) return take_urgent(e);
    if (dice < 89) return shut(peer_or_self(e));
    if (dice < 92) return close_if_open(peer_or_self(e), false);
    if (dice < 95) return close_if_open(peer_or_self(e), kind(e) == Kind::tcp);
    if (dice < 97 && registered(e)) return vanish(e);
    if (registered(e)) return orphan(e);
  }
  [[nodiscard]] std::size_t peer_or_self(std::size_t e) const {
    return kind(e) == Kind::event ? e : peer_of(e);
  }
  void close_if_open(std::size_t e, bool reset) {
    if (open(e)) close(e, reset);
  }

  // --- looking and comparing

  /// Shows every model what poll(2) says now.
  void follow() {
    for (World& world : worlds_) {
      world.look();
      for (End& end : world.ends) {
        end.model.world(end.after, end.arrived & end.after);
        end.arrived = Ready::none;
      }
    }
  }

  /// Waits until poll(2) says the same in all worlds, for a while; what is missing somewhere is
  /// waited for there.
  bool settle() {
    const Instant deadline = after(real_kernel().now(), 100ms);
    for (;;) {
      bool equal = true;
      for (std::size_t e = 0; e < lines_.size() * 2; ++e) {
        Ready all_of_it{};
        for (const World& world : worlds_)
          if (!world.ends[e].vanished) all_of_it |= world.ends[e].after;
        for (const World& world : worlds_) {
          const End& end = world.ends[e];
          if (end.vanished || end.after == all_of_it) continue;
          equal = false;
          pollfd asked{.fd = end.fd.get(),
                       .events = static_cast<short>(all_of_it - end.after),
                       .revents = 0};
          (void)::poll(&asked, 1, 1);
        }
      }
      if (equal) return true;
      if (real_kernel().now() >= deadline) return false;
      follow();
    }
  }

  void wait() {
    ++totals_.waits;
    if (!settle()) ++totals_.unsettled;
    for (World& world : worlds_) {
      for (End& end : world.ends) {
        end.before = end.after;
        end.expected = end.model.expected();
        end.got = Ready::none;
        end.events = 0;
      }
      collect(world);
      world.look();
      for (std::size_t e = 0; e < world.ends.size(); ++e) judge(world, e);
    }
    woken_ = false;
    compare();
  }

  /// Two waits, and nothing in between: what is owed is told by the first. An edge may report more
  /// often than it must (P21), but one that always does is none.
  void repeat() {
    wait();
    wait();
    for (const World& world : worlds_)
      for (const End& end : world.ends) {
        const ReferenceModel& model = end.model;
        if (!model.registered() || model.trigger() != Trigger::edge) continue;
        if (!any(end.before, Ready(model.interest()))) continue;
        ++totals_.repeats;
        totals_.extra += end.got != Ready::none ? 1 : 0;
      }
  }

  void collect(World& world) {
    const Result<Poller::Batch> batch = world.poller->wait(immediately);
    if (!batch) return fail(world, 0, "wait: " + batch.error().message());
    if (batch->woken() != woken_) fail(world, 0, "woken() is wrong");
    for (const Event& event : *batch) {
      const auto end = std::find_if(world.ends.begin(), world.ends.end(), [&](const End& each) {
        return each.model.registered() && each.token == event.token && each.data == event.data;
      });
      if (end == world.ends.end())
        return fail(world, 0, "an event of no registration: " + to_string(event.ready));
      end->got |= event.ready;
      ++end->events;
    }
    const auto live = static_cast<std::size_t>(
        std::count_if(world.ends.begin(), world.ends.end(),
                      [](const End& end) { return end.model.registered(); }));
    if (world.poller->size() != live) fail(world, 0, "size() is wrong");
  }

  /// Against the model. Something may still come in while the wait runs: what was true before has
  /// to be reported, what was true before or after may be.
  void judge(World& world, std::size_t e) {
    End& end = world.ends[e];
    // D2: what no modify has told yet, a new set of the kernel's may (P4).
    end.model.world(end.vanished ? Ready::invalid : end.after);
    end.expected.may |= end.model.expected().may;
    end.model.reported(end.got);
    if (end.got != Ready::none || end.expected.must != Ready::none)
      log_.line("  wait: ", world.backend->name, " ", name(e), ": ", to_string(end.got));
    if (end.expected.allows(end.got) && end.events <= 1) return;
    fail(world, e,
         "expected at least " + to_string(end.expected.must) + ", at most " +
             to_string(end.expected.may) + "; got " + to_string(end.got) + " in " +
             std::to_string(end.events) + " events");
  }

  /// Level and oneshot against each other, where the worlds are the same and no row of the table
  /// "Where backends differ" applies.
  void compare() {
    for (std::size_t e = 0; e < lines_.size() * 2; ++e) {
      const End& first = worlds_.front().ends[e];
      bool reported = false;
      bool comparable = first.model.registered() && first.model.trigger() != Trigger::edge;
      for (const World& world : worlds_) {
        const End& end = world.ends[e];
        reported = reported || end.got != Ready::none;
        comparable = comparable && end.noticeable && end.before == first.before &&
                     end.after == end.before && end.expected == first.expected;
      }
      totals_.reports += reported ? 1 : 0;
      if (!comparable) continue;
      totals_.equal += reported ? 1 : 0;
      for (const World& world : worlds_)
        if (world.ends[e].got != first.got)
          fail(world, e,
               "reports " + to_string(world.ends[e].got) + ", and " +
                   std::string(worlds_.front().backend->name) + " reports " + to_string(first.got));
    }
  }

  static constexpr std::size_t all = ~std::size_t{0};

  Prng random_;
  Log log_;
  Totals& totals_;
  std::vector<Kind> lines_;  ///< Each has two ends, 2 i and 2 i + 1; an eventfd only the first.
  std::vector<World> worlds_;
  std::uint64_t data_ = 0;
  bool woken_ = false;
  bool failed_ = false;
};

class DifferentialTest : public testing::Test {
 protected:
  /// A pipe without a reader says so by EPIPE.
  void SetUp() override { before_ = ::signal(SIGPIPE, SIG_IGN); }
  void TearDown() override { ::signal(SIGPIPE, before_); }

  static std::optional<std::uint64_t> number(const char* variable) {
    const char* text = std::getenv(variable);
    if (text == nullptr) return std::nullopt;
    return std::strtoull(text, nullptr, 0);
  }

 private:
  sighandler_t before_ = SIG_DFL;
};

TEST_F(DifferentialTest, P1_to_P8_P20_to_P27_every_backend_reports_the_same) {
  Totals totals;
  std::uint64_t seeds = 0;
  const auto run = [&](std::uint64_t seed, Log log) {
    Script(seed, log, totals).run();
    ++seeds;
    return !HasFailure();
  };
  if (const auto seed = number("DUOLU_SEED")) {
    run(*seed, {.on = true});
  } else {
    const Instant start = real_kernel().now();
    const auto seconds = std::chrono::seconds(number("DUOLU_DIFFERENTIAL_SECONDS").value_or(5));
    // A slow machine is given ten times as long to reach the floor.
    const auto enough = [&] {
      const Duration spent = real_kernel().now() - start;
      return spent >= 10 * seconds || (spent >= seconds && seeds >= floor_of_seeds);
    };
    while (!enough())
      if (!run(seeds + 1, {})) {
        std::printf("DUOLU_SEED=%llu reproduces it, with every step\n",
                    static_cast<unsigned long long>(seeds));
        break;
      }
    if (!HasFailure()) {
      EXPECT_GE(seeds, floor_of_seeds);
    }
  }
  const auto say = [](std::uint64_t count) { return static_cast<unsigned long long>(count); };
  std::printf(
      "report: differential: %llu seeds, %llu steps, %llu reports compared (%llu of them bit by "
      "bit), %llu of %llu waits unsettled, %llu of %llu edges reported once more\n",
      say(seeds), say(totals.steps), say(totals.reports), say(totals.equal), say(totals.unsettled),
      say(totals.waits), say(totals.extra), say(totals.repeats));
  EXPECT_LE(totals.unsettled * 100, totals.waits);
  EXPECT_LE(totals.extra * 10, totals.repeats);
}

}  // namespace
}  // namespace duolu::test
