// duolu talk: the command line around a Conversation.
#include <fmt/format.h>

#include <algorithm>

#include "apps/conversation.hpp"
#include "apps/options.hpp"
#include "apps/text.hpp"
#include "apps/verbs.hpp"

namespace duolu::apps {
namespace {

struct TalkArguments {
  std::string address;
  std::string port;
  std::string connections = "1";
  std::string connect_timeout = "5s";
  std::vector<std::string> send;
  std::vector<std::string> expect;
  std::string at_most;
  std::string delimiter;
  std::string backend = "auto";
  bool has_delimiter = false;
  bool crlf = false;
  bool keep_open = false;
  bool hex = false;
  bool raw = false;
  bool verbose = false;
};

/// With --expect and without --for: long enough for any server, and no script hangs.
constexpr Duration patience = std::chrono::seconds(10);

/// ADDRESS, or HOST and PORT as with nc(1), where an IPv6 address has no brackets.
std::string address_of(const TalkArguments& arguments) {
  const std::string& host = arguments.address;
  if (arguments.port.empty()) return host;
  const auto colons = std::count(host.begin(), host.end(), ':');
  if (host.contains("://") || host.starts_with('[') || colons == 1)
    throw Failure(exit_usage, fmt::format("{} {}: write HOST:PORT, or HOST PORT", escape(host),
                                          escape(arguments.port)));
  return fmt::format(fmt::runtime(colons == 0 ? "{}:{}" : "[{}]:{}"), host, arguments.port);
}

ConversationOptions conversation_options(const TalkArguments& arguments) {
  ConversationOptions options{.name = escape(address_of(arguments))};
  options.connections = count_argument("--connections", arguments.connections, "1 or 100");
  options.connect_timeout = duration_argument("--connect-timeout", arguments.connect_timeout);
  if (options.connect_timeout == Duration::zero())
    throw Failure(exit_usage, "--connect-timeout must be more than zero");
  options.from_input = arguments.send.empty();
  for (const std::string& text : arguments.send)
    options.sends.push_back(text_argument("--send", text));
  for (const std::string& text : arguments.expect) {
    options.expects.push_back(text_argument("--expect", text));
    if (options.expects.back().empty())
      throw Failure(exit_usage, "--expect: an empty text is always there; give a text");
  }
  if (!arguments.at_most.empty())
    options.at_most = duration_argument("--for", arguments.at_most);
  else if (!arguments.expect.empty())
    options.at_most = patience;
  if (arguments.has_delimiter)
    options.delimiter = text_argument("--delimiter", arguments.delimiter);
  options.crlf = arguments.crlf;
  options.keep_open = arguments.keep_open;
  if (arguments.hex) options.form = Transcript::Form::hex;
  if (arguments.raw) options.form = Transcript::Form::raw;
  options.verbose = arguments.verbose;
  return options;
}

int talk(const TalkArguments& arguments) {
  Kernel& kernel = real_kernel();
  ConversationOptions options = conversation_options(arguments);
  // Names are looked up first: that blocks, and Ctrl-C still ends the process at once.
  options.addresses = target_argument(kernel, address_of(arguments));
  make_room(kernel, real_host(), fmt::format("--connections {}", options.connections),
            options.connections);
  const EngineKind& kind = *engine_argument(kernel, arguments.backend).kind;
  const std::unique_ptr<Engine> engine = made_backend(kind.name, kind.make(kernel));
  Loop loop(*engine);
  Conversation conversation(loop, real_host(), options);
  return loop.run(conversation.run());
}

}  // namespace

void add_talk(CLI::App& app, Action& action) {
  Verb verb(app, "talk", "Talk to a server: send lines, show replies");
  auto arguments = std::make_shared<TalkArguments>();
  verb.option("address", arguments->address, "tcp://HOST:PORT, HOST:PORT or unix:///PATH")
      .required()
      .type_name("ADDRESS");
  verb.option("port", arguments->port, "If the address is only a HOST, as nc takes it")
      .type_name("PORT");
  verb.option("--connections", arguments->connections,
              "Connections; each is sent the same, replies are\nmarked with its number [1]")
      .type_name("N");
  verb.option("--connect-timeout", arguments->connect_timeout, "How long connecting may take [5s]")
      .type_name("D");
  VerbOption send = verb.option("--send", arguments->send,
                                "Send this instead of standard input: 'PING\\r\\n'\n(repeatable)")
                        .type_name("TEXT");
  verb.option("--expect", arguments->expect, "Succeed once this has come (repeatable: in order)")
      .type_name("TEXT");
  verb.option("--for", arguments->at_most,
              "How long to stay, or wait for --expect at the most\n"
              "[until the peer closes; with --expect 10s]")
      .type_name("D");
  VerbOption delimiter = verb.option("--delimiter", arguments->delimiter,
                                     "What ends a line that is sent: '\\0' [newline]")
                             .type_name("STRING")
                             .excludes(send)
                             .tells(arguments->has_delimiter);
  verb.flag("--crlf", arguments->crlf, "Lines are sent with '\\r\\n'")
      .excludes(delimiter)
      .excludes(send);
  verb.flag("--keep-open", arguments->keep_open,
            "Do not half-close when all is sent: some servers take\n"
            "that for the end. The peer ends it, or --for");
  VerbOption hex = verb.flag("--hex", arguments->hex, "Show replies as hexadecimal numbers");
  verb.flag("--raw", arguments->raw, "Show replies as they are: not safe on a terminal")
      .excludes(hex);
  add_backend_option(verb, arguments->backend);
  verb.flag("-v,--verbose", arguments->verbose, "Report connecting and reply times");
  verb.on_chosen([arguments, &action] { action = [arguments] { return talk(*arguments); }; });
}

}  // namespace duolu::apps
