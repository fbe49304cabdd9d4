#pragma once
#include "duolu/base/result.hpp"
#include "../../../src/poll/private.hpp"
