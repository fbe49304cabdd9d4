// duolu serve: the command line around Server.

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/stat.h>

#include "apps/options.hpp"
#include "apps/server.hpp"
#include "apps/text.hpp"
#include "apps/verbs.hpp"
#include "duolu/kernel/ring.hpp"

namespace duolu::apps {
namespace {

constexpr std::string_view unix_scheme = "unix://";

struct ServeArguments {
  std::string service;
  std::vector<std::string> listen{"tcp://localhost:5000"};
  std::string backend = "auto";
  std::string trigger;
  std::vector<std::string> without;
  std::string close_after;
  std::string idle_timeout;
  std::string grace = "5s";
  std::string max_connections;
  std::string stall;
  bool trace_tasks = false;
  bool stop_on_stdin = false;
  bool quiet = false;
  bool verbose = false;
  bool json = false;
};

// --- arguments

ServerOptions server_options(const ServeArguments& arguments) {
  ServerOptions options;
  options.close_after = text_argument("--close-after", arguments.close_after);
  if (!arguments.idle_timeout.empty()) {
    options.idle_timeout = duration_argument("--idle-timeout", arguments.idle_timeout);
    if (options.idle_timeout == Duration::zero())
      throw Failure(exit_usage, "--idle-timeout 0: must be more than zero; leave it out for none");
  }
  options.grace = duration_argument("--grace", arguments.grace);
  if (!arguments.max_connections.empty()) {
    options.max_connections = static_cast<std::size_t>(
        count_argument("--max-connections", arguments.max_connections, "100 or 10k"));
  }
  options.stop_on_stdin = arguments.stop_on_stdin;
  options.trace_tasks = arguments.trace_tasks;
  if (arguments.stall.empty()) return options;
  options.stall = duration_argument("--stall", arguments.stall);
  if (options.stall == Duration::zero())
    throw Failure(exit_usage, "--stall 0: must be more than zero; leave it out for no reports");
  return options;
}

// --- start

/// For EADDRINUSE of bind(2), which for a Unix address only says that the path exists.
std::string who_has(Kernel& kernel, const std::string& where) {
  if (!where.starts_with(unix_scheme))
    return "another server has it; stop that one or choose another port";
  struct stat status{};
  if (kernel.lstat(where.c_str() + unix_scheme.size(), &status) == 0 && !S_ISSOCK(status.st_mode))
    return "there is a file that is no socket; remove it or choose another path";
  return "another server has it; stop that one or choose another path";
}

[[noreturn]] void cannot_listen(Kernel& kernel, const std::string& where, std::error_code error) {
  std::string advice = "choose another address";
  if (error == std::errc::address_in_use)
    advice = who_has(kernel, where);
  else if (error == std::errc::file_exists)
    advice = "that file is no socket; remove it or choose another path";
  else if (error == std::errc::filename_too_long)
    advice = "choose a shorter path: a Unix address has room for 107 bytes";
  else if (error.category() != std::generic_category())
    advice = "is the name right?";
  else if (error == std::errc::permission_denied)
    advice = where.starts_with(unix_scheme) ? "the directory must be writable"
                                            : "ports below 1024 are for root; choose one above";
  else if (error == std::errc::address_not_available)
    advice = "this machine does not have that address";
  else if (error == std::errc::too_many_files_open)
    advice = "raise the limit with `ulimit -n`";
  throw Failure(exit_no_connection,
                fmt::format("cannot listen on {}: {}; {}", escape(where), error.message(), advice));
}

/// Listens on every address of every endpoint. With port 0, all addresses of a name share one.
std::vector<Address> listen_everywhere(Kernel& kernel, Server& server,
                                       const std::vector<std::string>& texts) {
  std::vector<Endpoint> endpoints;
  for (const std::string& text : texts) {
    std::expected<Endpoint, std::string> endpoint = parse_endpoint(text);
    if (!endpoint) throw Failure(exit_usage, "--listen " + escape(endpoint.error()));
    endpoints.push_back(std::move(*endpoint));
  }
  std::vector<Address> bound;
  for (const Endpoint& endpoint : endpoints) {
    const std::expected<std::vector<Address>, ListenError> listening = server.listen(endpoint);
    if (!listening) cannot_listen(kernel, listening.error().where, listening.error().error);
    bound.insert(bound.end(), listening->begin(), listening->end());
  }
  return bound;
}

/// Commands to try the server with.
std::string lines_to_try(const ServeArguments& arguments, const std::vector<Address>& bound) {
  const std::string where = bound.front().to_string();
  if (bound.front().family() == AF_UNIX)
    return fmt::format("  try:  nc -U {}\n", escape(where.substr(7)));
  const std::string authority = where.substr(6);
  const std::size_t colon = authority.rfind(':');
  const std::string host = authority.substr(0, colon);
  const bool v6 = host.starts_with('[');
  std::string lines = fmt::format("  try:  nc {} {}\n", v6 ? host.substr(1, host.size() - 2) : host,
                                  authority.substr(colon + 1));
  if (arguments.service == "http-echo")
    lines = fmt::format("  try:  curl http://{}/\n", authority);
  else if (arguments.close_after == "\\r\\n\\r\\n")
    lines += fmt::format("        curl --http0.9 http://{}/\n", authority);
  return lines;
}

/// How descriptors are registered with the engine's poller; empty if it has none.
std::optional<Trigger> trigger_for(const EngineKind& kind, const std::string& name) {
  if (kind.poller == nullptr) {
    if (name.empty()) return std::nullopt;
    throw Failure(exit_usage, fmt::format("--trigger {}: {} has no triggers, since the kernel "
                                          "performs its requests; leave it out",
                                          name, kind.name));
  }
  for (const Trigger trigger : {Trigger::level, Trigger::edge, Trigger::oneshot})
    if (name == to_string(trigger)) return trigger;
  return kind.poller->traits.native_edge ? Trigger::edge : Trigger::level;
}

/// The features of rings that were named with --without, as EngineOptions::ring_without has them.
std::uint32_t features_left_out(const EngineKind& kind, const std::vector<std::string>& names) {
  if (kind.poller != nullptr && !names.empty())
    throw Failure(exit_usage, fmt::format("--without {}: of an engine over io_uring, which {} is "
                                          "not; leave it out",
                                          names.front(), kind.name));
  std::uint32_t features = 0;
  for (const ring::FeatureName& each : ring::feature_names())
    if (std::find(names.begin(), names.end(), each.name) != names.end()) features |= each.feature;
  return features;
}

void announce(Journal& journal, const ServeArguments& arguments, const EngineChoice& chosen,
              std::optional<Trigger> trigger, const std::vector<Address>& bound) {
  std::vector<std::string> addresses;
  addresses.reserve(bound.size());
  for (const Address& address : bound) addresses.push_back(escape(address.to_string()));
  Kernel& kernel = real_kernel();
  std::string stop =
      is_ignored(kernel, SIGINT) ? fmt::format("kill {}", kernel.getpid()) : "Ctrl-C";
  if (arguments.stop_on_stdin) stop += ", or a line on standard input";
  journal.say(Verbosity::normal, "serving",
              fmt::format("duolu serve {}\n  listening on {}\n  backend {}{}{} ({})\n"
                          "{}  stop: {}",
                          arguments.service, fmt::join(addresses, ", "), chosen.kind->name,
                          trigger ? fmt::format(", {}-triggered", to_string(*trigger)) : "",
                          arguments.without.empty()
                              ? ""
                              : fmt::format(" without {}", fmt::join(arguments.without, ", ")),
                          chosen.why, lines_to_try(arguments, bound), stop),
              {{"service", arguments.service},
               {"listening", addresses},
               {"backend", chosen.kind->name},
               {"trigger", trigger ? nlohmann::ordered_json(to_string(*trigger)) : nullptr},
               {"without", arguments.without},
               {"why", chosen.why}});
}

void report(Journal& journal, const Totals& totals) {
  journal.say(Verbosity::quiet, "totals",
              fmt::format("served {} (at most {} at a time), {}, {} in, {} out; {} failed, {} cut",
                          counted(totals.accepted, "connection"), totals.peak,
                          counted(totals.messages, "message"), counted(totals.bytes_in, "byte"),
                          counted(totals.bytes_out, "byte"), totals.failed, totals.cut),
              {{"connections", totals.accepted},
               {"connections_max", totals.peak},
               {"messages", totals.messages},
               {"bytes_in", totals.bytes_in},
               {"bytes_out", totals.bytes_out},
               {"failed", totals.failed},
               {"cut", totals.cut}});
}

int serve(const ServeArguments& arguments) {
  Kernel& kernel = real_kernel();
  const ServerOptions options = server_options(arguments);
  if (!arguments.max_connections.empty())
    make_room(kernel, real_host(), fmt::format("--max-connections {}", options.max_connections),
              options.max_connections);
  Verbosity verbosity = Verbosity::normal;
  if (arguments.quiet) verbosity = Verbosity::quiet;
  if (arguments.verbose) verbosity = Verbosity::verbose;
  Journal journal(verbosity, arguments.json, "duolu.serve/1");

  const EngineChoice chosen = engine_argument(kernel, arguments.backend);
  const std::optional<Trigger> trigger = trigger_for(*chosen.kind, arguments.trigger);
  const std::uint32_t without = features_left_out(*chosen.kind, arguments.without);
  const auto kind = std::find_if(services().begin(), services().end(),
                                 [&](const ServiceKind& k) { return k.name == arguments.service; });
  const std::unique_ptr<Service> service = kind->make(real_host());
  const std::unique_ptr<Engine> engine = made_backend(
      chosen.kind->name, chosen.kind->make(kernel, {.buffer_size = service->read_size(),
                                                    .trigger = trigger,
                                                    .ring_without = without}));
  Loop loop(*engine);
  Server server(loop, *service, options, journal);
  const std::vector<Address> bound = listen_everywhere(kernel, server, arguments.listen);
  const StopSignals signals(
      kernel, [](void* context) { static_cast<Server*>(context)->stop(); }, &server);
  announce(journal, arguments, chosen, trigger, bound);
  const Result<Totals> totals = server.run();
  if (!totals)
    throw Failure(exit_failed, "cannot read standard input: " + totals.error().message());
  report(journal, *totals);
  const std::string lost = journal.finish(after(kernel.now(), time_for_readers));
  if (!lost.empty()) throw Failure(exit_failed, lost);
  return exit_ok;
}

}  // namespace

void add_serve(CLI::App& app, Action& action) {
  Verb verb(app, "serve", "Serve echo and its like over TCP and Unix sockets");
  auto arguments = std::make_shared<ServeArguments>();
  std::vector<std::string> names;
  std::string list = "What to serve:";
  for (const ServiceKind& kind : services()) {
    names.emplace_back(kind.name);
    list += fmt::format("\n{:<10} {}", kind.name, kind.summary);
  }
  const std::vector<std::string> triggers{"level", "edge", "oneshot"};

  verb.option("service", arguments->service, list).required().type_name("SERVICE").one_of(names);
  verb.option("--listen", arguments->listen,
              "Address: tcp://HOST:PORT, unix:///PATH (repeatable)\n"
              "[tcp://localhost:5000, every address of it]")
      .type_name("ADDR");
  add_backend_option(verb, arguments->backend);
  verb.option("--trigger", arguments->trigger,
              "level, edge, oneshot, of a backend that has triggers\n[edge with epoll, else level]")
      .type_name("MODE")
      .one_of(triggers);
  std::vector<std::string> features;
  for (const ring::FeatureName& each : ring::feature_names()) features.emplace_back(each.name);
  verb.option("--without", arguments->without,
              "Leave out a feature of io_uring that doctor lists,\nof a backend that uses it "
              "(repeatable)")
      .type_name("FEATURE")
      .one_of(features);
  verb.option("--close-after", arguments->close_after,
              "Close a connection once its input ends so,\nafter answering: '\\r\\n\\r\\n'")
      .type_name("STRING");
  verb.flag("--stop-on-stdin", arguments->stop_on_stdin,
            "Stop at a line or the end of standard input");
  verb.option("--idle-timeout", arguments->idle_timeout,
              "Close connections without traffic: 30s [never]")
      .type_name("D");
  verb.option("--max-connections", arguments->max_connections,
              "At most so many at a time; others wait [no limit]")
      .type_name("N");
  verb.option("--grace", arguments->grace,
              "How long stopping may take before connections are cut [5s]")
      .type_name("D");
  verb.option("--stall", arguments->stall,
              "Report handlers that hold the loop for longer than D [off]")
      .type_name("D");
  verb.flag("--trace-tasks", arguments->trace_tasks,
            "Note since when each task waits; kill -USR1 prints\nthe tasks and what they wait for");
  VerbOption quiet = verb.flag("-q,--quiet", arguments->quiet, "Only errors and the totals");
  verb.flag("-v,--verbose", arguments->verbose, "Report connections and messages").excludes(quiet);
  verb.flag("--json", arguments->json, "One JSON object a line on standard output");
  verb.on_chosen([arguments, &action] { action = [arguments] { return serve(*arguments); }; });
}

}  // namespace duolu::apps
