#pragma once
#include <duolu/base/result.hpp>
