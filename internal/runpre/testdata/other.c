/* SPDX-License-Identifier: Apache-2.0 */
/* The rest of the program that testdata/unit.c is linked into. */
int shared;
extern int published;
static int hits;
static int twin(int x);

int other(int x) { return x + 1; }
int helper(int x) { hits += x; return x + twin(x) + hits; }
int say(const char *s, ...) { return s[0]; }
__attribute__((cold)) void fail(int x) { shared = x; }

/* Equal to the one of unit.c in all but its name's owner. */
static __attribute__((noinline)) int twin(int x)
{
	published += x;
	return x * 11;
}

#ifdef STRONG
int overridden(int x) { return x - 9; }
#endif
