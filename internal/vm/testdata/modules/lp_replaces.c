// SPDX-License-Identifier: GPL-2.0
/* The same, and it takes the place of all livepatches before it. */
#define REPLACE true
#include "lp_cmdline.c"
