int g(int);
int h;
static int leaf(int x) { return g(x) + 1; }
static int middle(int x) { return leaf(x) * 3; }
int top(int x) { return middle(x) + h; }
int top2(int x) { return leaf(x) - h; }
int alone(int x) { return g(x); }
static __attribute__((noinline)) int known(int x, int y) { return g(x) + g(y); }
int knows(int x) { return known(x, 7) + known(x + 1, 7); }
int deep(int n) { return n < 2 ? g(n) : deep(n - 1) + deep(n - 2); }
