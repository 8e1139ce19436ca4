// SPDX-License-Identifier: Apache-2.0
//
// The workload of kmend levels: fixed counts of system calls, timed with rdtsc.
// In a guest whose time stamp counter counts executed instructions, a
// difference of two readings is the number of instructions between them.
//
// It needs no C library, so that what is counted is the kernel and a handful of
// instructions per call that are the same everywhere. For each operation it
// prints one line a batch: NAME ITERATIONS DIFFERENCE. The line "loop" is the
// same loop around nothing. A system call that fails ends it with status 1.

typedef unsigned long u64;

enum { READ, WRITE, OPEN, CLOSE, STAT, MMAP = 9, MUNMAP = 11, SIGACTION = 13, SIGRETURN = 15, PREAD = 17, PWRITE,
	PIPE = 22, YIELD = 24, GETPID = 39, FORK = 57, EXIT = 60, WAIT4, KILL };

static long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		: "rcx", "r11", "memory");
	return ret;
}

#define sys(n, a, b, c) sys6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)

static u64 tsc(void)
{
	unsigned lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (u64)hi << 32 | lo;
}

static char out[1 << 16];
static unsigned used;

static void text(const char *s)
{
	while (*s && used < sizeof(out))
		out[used++] = *s++;
}

static void number(u64 v)
{
	char digits[24], *p = digits + sizeof(digits) - 1;

	*p = 0;
	do
		*--p = '0' + v % 10;
	while (v /= 10);
	text(p);
}

static void flush(void)
{
	for (unsigned done = 0; done < used;) {
		long n = sys(WRITE, 1, out + done, used - done);

		if (n <= 0)
			sys(EXIT, 1, 0, 0);
		done += n;
	}
	used = 0;
}

static const char *current;

static long must(long ret)
{
	if (ret < 0) {
		text("error: ");
		text(current);
		text(": errno ");
		number(-ret);
		text("\n");
		flush();
		sys(EXIT, 1, 0, 0);
	}
	return ret;
}

static int fds[2], file;
static int to[2], from[2];
static char page[4096];
static volatile int handled;

static void op_loop(void) { __asm__ volatile(""); }
static void op_getpid(void) { must(sys(GETPID, 0, 0, 0)); }

static void op_pipe(void)
{
	must(sys(WRITE, fds[1], page, 64));
	must(sys(READ, fds[0], page, 64));
}

static void op_open(void) { must(sys(CLOSE, must(sys(OPEN, "/proc/version", 0, 0)), 0, 0)); }

static void op_maps(void)
{
	long fd = must(sys(OPEN, "/proc/self/maps", 0, 0));

	must(sys(READ, fd, page, sizeof(page)));
	must(sys(CLOSE, fd, 0, 0));
}

static void op_stat(void) { must(sys(STAT, "/proc/sys/kernel/ostype", page, 0)); }

static void op_file(void)
{
	must(sys6(PWRITE, file, (long)page, sizeof(page), 0, 0, 0));
	must(sys6(PREAD, file, (long)page, sizeof(page), 0, 0, 0));
}

static void op_mmap(void)
{
	char *p = (char *)must(sys6(MMAP, 0, 4 * 4096, 3 /* read, write */, 0x22 /* private, anonymous */, -1, 0));

	for (int i = 0; i < 4; i++)
		*(volatile char *)(p + i * 4096) = 1;
	must(sys(MUNMAP, p, 4 * 4096, 0));
}

static void op_signal(void) { must(sys(KILL, must(sys(GETPID, 0, 0, 0)), 10, 0)); }

static void op_switch(void)
{
	must(sys(WRITE, to[1], page, 1));
	must(sys(READ, from[0], page, 1));
}

static void op_fork(void)
{
	long pid = must(sys(FORK, 0, 0, 0));

	if (pid == 0)
		sys(EXIT, 0, 0, 0);
	must(sys6(WAIT4, pid, 0, 0, 0, 0, 0));
}

static void handler(int sig) { handled += sig; }
__asm__("restore: mov $15, %eax\n\tsyscall");
extern void restore(void);

static const struct op { const char *name; void (*run)(void); int n; } ops[] = {
	{ "loop", op_loop, 100 }, { "getpid", op_getpid, 100 }, { "stat", op_stat, 20 }, { "open", op_open, 20 },
	{ "maps", op_maps, 10 }, { "pipe", op_pipe, 20 }, { "file", op_file, 10 }, { "mmap", op_mmap, 10 },
	{ "signal", op_signal, 20 }, { "switch", op_switch, 20 }, { "fork", op_fork, 4 },
};

enum { BATCHES = 41 };

__attribute__((used)) static void start(void)
{
	struct { void (*handler)(int); u64 flags; void (*restorer)(void); u64 mask; } sa = { handler, 0x04000000, restore, 0 };

	current = "set up";
	must(sys(PIPE, fds, 0, 0));
	must(sys(PIPE, to, 0, 0));
	must(sys(PIPE, from, 0, 0));
	file = must(sys(OPEN, "/tmp/workload", 0102 /* create, read, write */, 0600));
	must(sys6(SIGACTION, 10, (long)&sa, 0, 8, 0, 0));
	if (must(sys(FORK, 0, 0, 0)) == 0) { // the other side of op_switch
		sys(CLOSE, to[1], 0, 0);
		while (sys(READ, to[0], page, 1) == 1)
			sys(WRITE, from[1], page, 1);
		sys(EXIT, 0, 0, 0);
	}
	static u64 took[BATCHES];

	for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		void (*volatile run)(void) = ops[i].run;
		int n = ops[i].n;

		current = ops[i].name;
		for (int b = 0; b < BATCHES; b++) {
			u64 t = tsc();

			for (int k = 0; k < n; k++)
				run();
			took[b] = tsc() - t;
		}
		for (int b = 0; b < BATCHES; b++) {
			text(ops[i].name);
			text(" ");
			number(n);
			text(" ");
			number(took[b]);
			text("\n");
		}
	}
	flush();
	sys(EXIT, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n\tand $-16, %rsp\n\tcall start");
