// TODO: later
const char* name = "/tmp/XXXXXX";
