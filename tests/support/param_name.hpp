// The name of a backend or engine as GoogleTest takes it: without '-'.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace duolu::test {

inline std::string param_name(std::string_view name) {
  std::string text(name);
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

}  // namespace duolu::test
