#include "apps/lab_models.hpp"

#include <signal.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "bench/servers/coroutine_echo.hpp"
#include "bench/servers/echo.hpp"
#include "bench/servers/poller_echo.hpp"
#include "bench/servers/servers.hpp"
#include "duolu/engine/engines.hpp"
#include "duolu/kernel/host.hpp"

#ifndef DUOLU_POSIX_ONLY
#include <sys/prctl.h>
#endif

namespace duolu::apps {
namespace {

/// A server by hand. Its port is not used: it has a listening socket.
template <int (*server)(int, char**)>
void serve_raw(const LabModel& model) {
  std::string name = model.name;
  std::string port = "1";
  std::string mode = model.trigger;
  std::array<char*, 4> words{name.data(), port.data(), mode.empty() ? nullptr : mode.data(),
                             nullptr};
  server(mode.empty() ? 2 : 3, words.data());
}

void serve_poller(const LabModel& model) {
  bench::prepare();
  bench::serve_echo(real_kernel(), 0, model.engine, model.trigger);
}

#ifndef DUOLU_POSIX_ONLY
void serve_coroutine(const LabModel& model) {
  bench::prepare();
  bench::serve_coroutine_echo(real_kernel(), 0, model.engine, "lent");
}
#endif

using Kind = LabModel::Kind;

}  // namespace

std::string_view to_string(LabModel::Kind kind) noexcept {
  switch (kind) {
    case Kind::calls: return "calls";
    case Kind::duolu: return "duolu";
    case Kind::raw: return "raw";
  }
  return "";
}

const std::vector<LabModel>& lab_models() {
  static const std::vector<LabModel> models{
      {"blocking", Kind::calls, "calls that block, one client at a time", "", "",
       serve_raw<bench::raw_blocking>, 1},
      {"threads", Kind::calls, "calls that block, a thread for each connection", "", "",
       serve_raw<bench::raw_threads>, SIZE_MAX, true},
      {"busy", Kind::calls, "calls that do not block, on all connections again and again", "", "",
       serve_raw<bench::raw_busy>},
      {"select", Kind::duolu, "a Poller over select", "select", "level", serve_poller},
      {"poll", Kind::duolu, "a Poller over poll", "poll", "level", serve_poller},
#ifndef DUOLU_POSIX_ONLY
      {"epoll", Kind::duolu, "a Poller over epoll, level-triggered", "epoll", "level",
       serve_poller},
      {"epoll-edge", Kind::duolu, "the same, edge-triggered", "epoll", "edge", serve_poller},
      {"epoll-oneshot", Kind::duolu, "the same, oneshot", "epoll", "oneshot", serve_poller},
      {"uring-poll", Kind::duolu, "a Poller over io_uring: readiness", "uring-poll", "level",
       serve_poller},
      {"uring", Kind::duolu, "coroutines over io_uring: completion", "uring", "", serve_coroutine},
#endif
      {"raw-select", Kind::raw, "select by hand", "select", "", serve_raw<bench::raw_select>},
      {"raw-poll", Kind::raw, "poll by hand", "poll", "", serve_raw<bench::raw_poll>},
#ifndef DUOLU_POSIX_ONLY
      {"raw-epoll", Kind::raw, "epoll by hand, level-triggered", "epoll", "level",
       serve_raw<bench::raw_epoll>},
      {"raw-uring", Kind::raw, "io_uring by hand: completion, shared buffers", "uring", "multishot",
       serve_raw<bench::raw_uring>},
#endif
  };
  return models;
}

std::string why_not_here(Kernel& kernel, const LabModel& model) {
  if (*model.engine == '\0') return {};
  const EngineKind* engine = find_engine(model.engine);
  if (engine == nullptr) return "not in this build";
  const Probe probe = engine->probe(kernel);
  return probe.works() ? std::string() : probe.reason;
}

void serve_lab_model(const LabModel& model, int listener) {
  bench::given_listener = listener;
  // Whatever happens to its parent, a server does not stay behind; POSIX has no such call. Ctrl-C
  // is the parent's to handle.
#ifndef DUOLU_POSIX_ONLY
  real_host().prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
  struct sigaction ignore{};
  ignore.sa_handler = SIG_IGN;
  real_kernel().sigaction(SIGINT, &ignore, nullptr);
  model.serve(model);
  std::abort();  // no server ends
}

}  // namespace duolu::apps
