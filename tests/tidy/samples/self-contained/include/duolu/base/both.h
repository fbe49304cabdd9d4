#pragma once

typedef struct duolu_both duolu_both;
enum class Kind { one };
