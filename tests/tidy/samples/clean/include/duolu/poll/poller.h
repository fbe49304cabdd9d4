#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
typedef struct duolu_poller duolu_poller;
int32_t duolu_poller_wake(duolu_poller* poller);
#ifdef __cplusplus
}
#endif
