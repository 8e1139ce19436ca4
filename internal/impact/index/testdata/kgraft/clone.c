int g(int);
int h;
struct s { int a, b; };
static __attribute__((noinline)) int fields(struct s *p, int y) { return g(p->a) + y; }
int caller(struct s *p) { return fields(p, h); }
int caller2(struct s *p) { return fields(p, h + 1); }
