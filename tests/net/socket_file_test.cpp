// SocketFile: the file of a listening Unix socket.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "duolu/net/listener.hpp"
#include "support/endpoints.hpp"

namespace duolu::test {
namespace {

class SocketFileTest : public testing::Test {
 protected:
  bool there() const { return ::access(path.c_str(), F_OK) == 0; }

  ScratchDirectory directory;
  const std::string path = directory.path("socket");
  const Address address =
      resolve(real_kernel(), parse_endpoint("unix://" + path).value()).value().front();
  const Fd socket = listen_on(real_kernel(), address).value();
};

TEST_F(SocketFileTest, it_is_removed_with_its_owner) {
  {
    SocketFile first(real_kernel(), address);
    const SocketFile moved = std::move(first);
    EXPECT_TRUE(there());
  }
  EXPECT_FALSE(there());
}

TEST_F(SocketFileTest, that_of_another_server_is_left) {
  SocketFile file(real_kernel(), address);
  ASSERT_EQ(::unlink(path.c_str()), 0);
  const Fd other = listen_on(real_kernel(), address).value();
  file.remove();
  EXPECT_TRUE(there());
}

TEST_F(SocketFileTest, a_forked_child_leaves_it_to_its_parent) {
  SocketFile file(real_kernel(), address);
  const pid_t child = ::fork();
  if (child == 0) {
    file.remove();
    ::_exit(0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(there());
  file.remove();
  EXPECT_FALSE(there());
}

}  // namespace
}  // namespace duolu::test
