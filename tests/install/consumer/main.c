// tidy: allow(dead-file) Built by install_test.sh, as a user's project.
#include <stddef.h>

#include "duolu/poll/poller.h"

int main(void) {
  struct duolu_poller* poller = NULL;
  if (duolu_poller_new("auto", 1, 0, &poller) < 0) return 1;
  duolu_poller_free(poller);
  return 0;
}
