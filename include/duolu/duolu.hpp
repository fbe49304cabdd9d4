// Public. Layer: net. What an everyday program needs: tasks, time, streams, files, servers,
// signals, and threads for what blocks. Pollers and engines have headers of their own.
#pragma once

#include "duolu/loop/loop.hpp"
#include "duolu/loop/offload.hpp"
#include "duolu/loop/run.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/loop/signals.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/net/address.hpp"
#include "duolu/net/connect.hpp"
#include "duolu/net/datagram.hpp"
#include "duolu/net/file.hpp"
#include "duolu/net/listener.hpp"
#include "duolu/net/reader.hpp"
#include "duolu/net/serve.hpp"
#include "duolu/net/standard.hpp"
#include "duolu/net/stream.hpp"
#include "duolu/task/channel.hpp"
#include "duolu/task/flag.hpp"
#include "duolu/task/semaphore.hpp"
#include "duolu/task/task.hpp"
#include "duolu/task/together.hpp"
