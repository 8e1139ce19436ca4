// SPDX-License-Identifier: GPL-2.0
#define REPLACE true
#include "lp_lists.c"
