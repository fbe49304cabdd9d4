#pragma once
#include "duolu/poll/poller.hpp"
