#pragma once
#include "duolu/poll/nowhere.hpp"
