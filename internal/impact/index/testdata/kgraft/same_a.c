#include "same.h"
int a(int x) { return host(x); }
