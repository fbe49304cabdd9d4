#pragma once
#include "src/poll/private.hpp"
