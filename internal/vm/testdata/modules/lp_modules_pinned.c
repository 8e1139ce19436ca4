// SPDX-License-Identifier: GPL-2.0
/* The same, but it holds a reference to itself: it cannot be unloaded. */
#define PINNED
#include "lp_modules.c"
