#include "src/loop/a.hpp"
int v = ({ co_await x(); });
