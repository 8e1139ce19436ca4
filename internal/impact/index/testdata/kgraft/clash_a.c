int g(int);
static int setup(int x) { return g(x) - 3; }
int uses_a(int x) { return setup(x); }
