// SPDX-License-Identifier: Apache-2.0

// A crowd of processes that sit in functions which a test replaces, leave them,
// and come back; and probes that tell old code from new. It is the guest's,
// linked statically.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void sleep_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, 0);
}

// start makes a process of the crowd with a name of its own; it ends with the
// crowd.
static int start(const char *name)
{
	pid_t parent = getpid();

	if (fork())
		return 0;
	prctl(PR_SET_NAME, name);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	return 1;
}

// read_for_ever, as whatever is always busy, takes what nobody else wants of the
// CPU: what is tested is not how long kmend waits for it.
static void read_for_ever(const char *file)
{
	char buf[65536];

	nice(15);
	for (;;) {
		int fd = open(file, O_RDONLY);

		while (read(fd, buf, sizeof(buf)) > 0)
			;
		close(fd);
		sleep_ms(10);
	}
}

// crowd: two readers of pipes that get something every 0.4 s, two sleepers, one
// that polls, readers of files in /proc and of a module's, one that reads a loop
// device so that a kernel thread has work, one that computes, one that forks.
static int crowd(void)
{
	int fd[2];
	char c;

	for (int i = 0; i < 2; i++) {
		if (pipe(fd))
			return 1;
		if (start("c-reader"))
			for (;;)
				if (read(fd[0], &c, 1) != 1)
					sleep_ms(50);
		if (start("c-writer"))
			for (;;) {
				sleep_ms(400);
				if (write(fd[1], "x", 1) != 1)
					_exit(1);
			}
		if (start("c-sleeper"))
			for (;;)
				sleep_ms(700 + 600 * i);
	}
	if (start("c-poller")) {
		struct pollfd p = { fd[0], POLLPRI, 0 };

		for (;;)
			poll(&p, 1, 900);
	}
	if (start("c-cmdline"))
		read_for_ever("/proc/cmdline");
	if (start("c-module"))
		read_for_ever("/sys/block/loop0/loop/sizelimit");
	if (start("c-loop")) {
		nice(15);
		for (;;) { // O_DIRECT needs no page cache, so that each read is the thread's
			static char buf[65536] __attribute__((aligned(4096)));
			int in = open("/dev/loop0", O_RDONLY | O_DIRECT);

			while (read(in, buf, sizeof(buf)) > 0)
				;
			close(in);
			sleep_ms(50);
		}
	}
	if (start("c-spinner")) {
		nice(15);
		for (;;) {
			struct timespec from, now;

			clock_gettime(CLOCK_MONOTONIC, &from);
			do
				clock_gettime(CLOCK_MONOTONIC, &now);
			while ((now.tv_sec - from.tv_sec) * 1000000000 + now.tv_nsec - from.tv_nsec < 30000000);
			sleep_ms(70);
		}
	}
	if (start("c-forker")) {
		nice(15);
		for (;;) {
			if (!fork())
				_exit(0);
			wait(0);
			sleep_ms(50);
		}
	}
	for (;;)
		pause();
}

static int say(const char *what, long result)
{
	printf("%s %s\n", what, result < 0 && errno == EDOM ? "new" : "old");
	return 0;
}

// Asks functions that a fix makes return -EDOM for what nobody else asks.
static int probe(const char *what)
{
	int fd[2];
	static char buf[8]; // 1.75 GB above the stack there may be no user memory

	errno = 0;
	if (!strcmp(what, "pipe")) {
		if (pipe(fd) || write(fd[1], "abc", 3) != 3)
			return 1;
		return say(what, syscall(SYS_read, fd[0], buf, 0x70000000));
	}
	if (!strcmp(what, "sleep")) {
		struct timespec t = { 0, 12345 };

		return say(what, nanosleep(&t, 0));
	}
	if (!strcmp(what, "poll"))
		return say(what, syscall(SYS_poll, 0, 777777, 0));
	return 2;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "crowd"))
		return crowd();
	if (argc == 2)
		return probe(argv[1]);
	return 2;
}
