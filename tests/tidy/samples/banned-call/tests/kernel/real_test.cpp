void close_it(int fd) { ::close(fd); }
