#include <cstring>
#include <string_view>

bool tells(std::string_view name) { return name == "epoll"; }
bool watches(std::string_view name) { return "poll" != name; }
bool copies(const char* name) { return std::strcmp(name, "select") == 0; }
bool chosen(std::string_view name) { return name == "auto" || name.starts_with("epoll"); }
