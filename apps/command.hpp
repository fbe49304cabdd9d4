// The command line as a function that tests can call.
#pragma once

namespace duolu::apps {

/// Parses and runs. Returns the exit code. May throw what no verb expects (out of memory).
int run_command(int argc, char** argv);

}  // namespace duolu::apps
