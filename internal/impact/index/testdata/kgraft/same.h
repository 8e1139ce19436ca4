int g(int);
static inline int tiny(int x) { return g(x) * 7; }
static __attribute__((noinline)) int host(int x) { return tiny(x) + g(x); }
