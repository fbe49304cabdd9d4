// The command line as a function, so that tests can call it.
#pragma once

namespace duolu::apps {

/// Parses and runs; the process's exit code. May throw what no verb expected (out of memory).
int run_command(int argc, char** argv);

}  // namespace duolu::apps
