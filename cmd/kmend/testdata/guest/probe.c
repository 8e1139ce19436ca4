// SPDX-License-Identifier: Apache-2.0

// Asks the kernel, from user space, what functions that a test replaces do.
// It is the guest's, linked statically.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// Adds a key to the process's keyring, reads it, and unlinks it (keyctl(2):
// KEYCTL_UNLINK is 9, KEYCTL_READ is 11).
static int keys(void)
{
	char got[64] = "";
	long key = syscall(SYS_add_key, "user", "kmend", "secret", 6, -2);
	long n = syscall(SYS_keyctl, 11, key, got, sizeof(got), 0);

	printf("key %ld %.*s\n", n, n > 0 ? (int)n : 0, got);
	return syscall(SYS_keyctl, 9, key, -2, 0, 0) != 0;
}

// Has the kernel write directory entries to memory that cannot be written to,
// and to memory that can be written to up to its middle.
static int fault(void)
{
	char *two = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open("/", O_RDONLY | O_DIRECTORY);
	long n;

	mprotect(two + 4096, 4096, PROT_NONE);
	n = syscall(SYS_getdents64, fd, two + 4096, 4096);
	printf("fault %ld %d\n", n, n < 0 ? errno : 0);
	n = syscall(SYS_getdents64, fd, two + 4096 - 30, 4096);
	printf("fault %ld\n", n);
	return 0;
}

static int comm(const char *name)
{
	char now[16];

	prctl(PR_SET_NAME, name);
	prctl(PR_GET_NAME, now);
	printf("comm %s\n", now);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "keys"))
		return keys();
	if (argc == 2 && !strcmp(argv[1], "fault"))
		return fault();
	if (argc == 3 && !strcmp(argv[1], "comm"))
		return comm(argv[2]);
	return 2;
}
