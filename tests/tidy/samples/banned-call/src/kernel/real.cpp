long read(int fd, void* to) { return ::read(fd, to, 1); }
