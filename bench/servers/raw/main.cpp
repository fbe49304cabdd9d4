// The program of one of these servers: DUOLU_RAW_SERVER names it.
#include "../servers.hpp"

int main(int argc, char** argv) { return bench::DUOLU_RAW_SERVER(argc, argv); }
