#include "duolu/poll/poller.hpp"
#include "server.hpp"
