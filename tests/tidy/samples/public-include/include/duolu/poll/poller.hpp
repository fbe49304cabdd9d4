#pragma once
#include <fmt/core.h>
#include <sys/epoll.h>
#include <linux/io_uring.h>
#include <sys/eventfd.h>

#include <memory>
#include <sys/socket.h>
