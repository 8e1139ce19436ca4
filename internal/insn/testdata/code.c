/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled with several flag sets to get a variety of encodings. */
#include <stddef.h>
#include <stdint.h>

extern int sink(const char *, ...);
static int counter;
extern int shared[64];
extern double weights[64];

void axpy(float *restrict a, const float *restrict b, float k, size_t n)
{
	for (size_t i = 0; i < n; i++)
		a[i] += k * b[i];
}

double dot(const double *a, size_t n)
{
	double s = 0;
	for (size_t i = 0; i < n; i++)
		s += a[i] * weights[i & 63] + (double)(int)a[i];
	return s;
}

void bytes(uint8_t *restrict a, const uint8_t *restrict b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		a[i] = a[i] > b[i] ? a[i] - b[i] : (uint8_t)(b[i] << 1);
}

int bits(uint64_t x, uint32_t y)
{
	return __builtin_popcountll(x) + __builtin_ctz(y | 1) + __builtin_clzll(x | 1) +
	       (int)__builtin_bswap64(x) + (int)(x << (y & 63)) + (int)((x >> 13) | (x << 51));
}

int choose(int v, int *p)
{
	switch (v) {
	case 0: return sink("zero %d", counter++);
	case 1: return sink("one");
	case 2: return shared[v] ^ 0x12345678;
	case 3: *p += 0x1234; return 3;
	case 4: return (int)(0x123456789abcdefULL % (unsigned)counter);
	case 5: return sink("five %llx", 0xfedcba9876543210ULL);
	case 6: return shared[p[3] & 63] * 1000003;
	case 7: p[100000] = -1; return p[-5] / 7;
	default: __builtin_trap();
	}
}

unsigned long copy(char *d, const char *s, unsigned long n)
{
	unsigned long i = 0;
	while (i < n && (d[i] = s[i]))
		i++;
	__builtin_memset(d, 0, 200);
	__builtin_memcpy(d + 300, s, 77);
	return __atomic_fetch_add(&i, n, __ATOMIC_SEQ_CST) + __sync_val_compare_and_swap((long *)d, 1, 2);
}

__int128 wide(__int128 a, __int128 b) { return a * b / (b | 1); }

uint16_t half(uint16_t *p, uint16_t v)
{
	p[0] = 0x1234;
	p[1] ^= 0x4321;
	if (p[2] == 0x7fff)
		p[3] = v % 1000;
	return p[4] + v;
}
