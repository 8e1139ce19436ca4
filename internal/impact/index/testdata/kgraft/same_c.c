int before(int x) { return x; }
#include "same.h"
int c(int x) { return host(x) + 2; }
