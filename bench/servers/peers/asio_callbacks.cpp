// peer_asio_callbacks PORT: Asio with completion handlers, and a buffer for each connection.
#include "asio.hpp"

namespace {

/// Always has exactly one outstanding operation; deletes itself when there is no next one.
class Session {
 public:
  explicit Session(bench::Socket socket) : socket_(std::move(socket)) {
    socket_.non_blocking(true);
    read();
  }

 private:
  void read() {
    socket_.async_read_some(asio::buffer(bytes_), [this](asio::error_code error, std::size_t got) {
      std::size_t sent = 0;
      if (error || !bench::try_write(socket_, bytes_, got, sent))
        end();
      else if (sent == got)
        read();
      else
        write(sent, got);
    });
  }

  void write(std::size_t from, std::size_t to) {
    asio::async_write(socket_, asio::buffer(bytes_ + from, to - from),
                      [this](asio::error_code error, std::size_t) { error ? end() : read(); });
  }

  void end() {
    delete this;
    bench::closed();
  }

  bench::Socket socket_;
  char bytes_[bench::buffer_size];
};

void accept(bench::Acceptor& acceptor) {
  acceptor.async_accept([&acceptor](asio::error_code error, bench::Socket socket) {
    if (!error) new Session(std::move(socket));
    accept(acceptor);
  });
}

}  // namespace

int main(int argc, char** argv) {
  bench::Acceptor acceptor = bench::acceptor_on(bench::start(argc, argv).port);
  accept(acceptor);
  bench::context.run();
}
