// For C, too.
#ifndef DUOLU_BASE_D_H
#define DUOLU_BASE_D_H
#endif
