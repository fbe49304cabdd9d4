#include "live.hpp"
