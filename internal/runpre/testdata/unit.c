/* SPDX-License-Identifier: Apache-2.0 */
/* A translation unit with what makes run-pre matching hard. Macros vary it. */
#ifndef LIMIT
#define LIMIT 1000
#endif
#ifndef TEXT
#define TEXT "value %d"
#endif
#ifndef HELPER
#define HELPER helper
#endif
#ifndef ENTRY
#define ENTRY 30
#endif
#ifndef COLD
#define COLD 7
#endif
#ifndef TWIN
#define TWIN 11
#endif

extern int helper(int), other(int), say(const char *, ...);
extern int shared;
int published;
static int hits;

/* Reached by a tail jump from its neighbour: a short jump if the assembler
 * knows the distance. */
static __attribute__((noinline)) int neighbour(int x)
{
	hits++;
	return HELPER(x) + LIMIT;
}

int tail(int x)
{
	if (x == 3)
		return neighbour(x);
	shared = x;
	return neighbour(x + 1);
}

int count(int x)
{
	static int calls = 5;

	calls += x;
	if (calls > 77777)
		say(TEXT, calls);
	return calls;
}

int table(unsigned int i)
{
	static const int values[] = { 10, 20, ENTRY, 40 };

	return i < 4 ? values[i] : -1;
}

/* The same name is static in other translation units. */
static __attribute__((noinline)) int twin(int x)
{
	published += x;
	return x * TWIN;
}

int loops(int *p, int n)
{
	int sum = 0;

	for (int i = 0; i < n; i++) {
		if (p[i] < 0)
			continue;
		sum += twin(p[i]) ^ hits;
	}
	return sum;
}

__attribute__((cold)) extern void fail(int);

int unlikely_path(int x, int *p)
{
	int r = helper(x);

	if (__builtin_expect(r < 0, 0)) {
		fail(COLD);
		*p = other(x);
	}
	return helper(r) + *p;
}

__attribute__((weak)) int overridden(int x) { return x * 31 + 5; }

int after_weak(int x) { return other(x) - 2; }

__attribute__((no_instrument_function)) int untraced(int x) { return x ^ 0x5a5a; }

int (*const handlers[])(int) = { tail, count, after_weak };

int dispatch(unsigned int i) { return handlers[i & 1](3); }
