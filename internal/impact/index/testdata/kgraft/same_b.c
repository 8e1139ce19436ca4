#include "same.h"
int b(int x) { return host(x) + 1; }
