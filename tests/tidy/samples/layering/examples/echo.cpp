#include "duolu/poll/poller.hpp"
#include "apps/server.hpp"
