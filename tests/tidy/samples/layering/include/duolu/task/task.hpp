#pragma once
#include "duolu/kernel/kernel.hpp"
