#include "../poll/private.hpp"
#include "apps/server.hpp"
