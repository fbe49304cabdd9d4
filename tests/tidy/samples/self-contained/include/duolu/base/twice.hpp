#pragma once

#include <string>

std::string twice(const std::string& text);
