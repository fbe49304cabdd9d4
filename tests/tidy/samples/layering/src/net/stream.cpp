#include "duolu/kernel/kernel.hpp"
#include "duolu/poll/poller.hpp"
