int SimKernel::read(int fd) { return kernel_->fcntl(fd); }
int getrandom(int);
