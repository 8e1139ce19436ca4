int g(int);
static int setup(int x) { return g(x) - 4; }
int uses_b(int x) { return setup(x); }
