// The echo servers without a library, each with one way of waiting. They are programs of the
// benchmark (raw/main.cpp), and `duolu lab` has them too. Each is called as main() is, with
// PORT [MODE], and serves until the process ends.
#pragma once

namespace bench {

int raw_blocking(int argc, char** argv);
int raw_busy(int argc, char** argv);
int raw_threads(int argc, char** argv);
int raw_select(int argc, char** argv);
int raw_poll(int argc, char** argv);
int raw_epoll(int argc, char** argv);
int raw_uring(int argc, char** argv);

}  // namespace bench
