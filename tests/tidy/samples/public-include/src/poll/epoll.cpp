#include <sys/epoll.h>
#include <nlohmann/json.hpp>
