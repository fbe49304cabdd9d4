#include "duolu/poll/poller.hpp"

int main() { return 0; }
