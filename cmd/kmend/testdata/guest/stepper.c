// SPDX-License-Identifier: Apache-2.0

// Runs a program under ptrace and stops it at system calls by which it changes
// something, before the kernel does them. It is the guest's, linked statically.
//
//	stepper kill N PROGRAM…         lets N of them be done and kills it before
//	                                the next (exit 137, and says which it was)
//	stepper at CALL SCRIPT PROGRAM… runs a shell command when it is about to do
//	                                the first CALL, then lets it go on
//
// A seccomp filter reports just these calls, in every thread. A process that is
// killed while one is reported does not do it (kernel/seccomp.c, __seccomp_filter).

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct { int nr; const char *name; } calls[] = {
	{ SYS_openat, "openat" }, { SYS_write, "write" }, { SYS_pwrite64, "pwrite64" },
	{ SYS_renameat, "renameat" }, { SYS_renameat2, "renameat2" }, { SYS_rename, "rename" },
	{ SYS_unlinkat, "unlinkat" }, { SYS_unlink, "unlink" }, { SYS_rmdir, "rmdir" },
	{ SYS_mkdirat, "mkdirat" }, { SYS_mkdir, "mkdir" }, { SYS_fchmod, "fchmod" },
	{ SYS_ftruncate, "ftruncate" }, { SYS_fsync, "fsync" }, { SYS_flock, "flock" },
	{ SYS_init_module, "init_module" }, { SYS_finit_module, "finit_module" }, { SYS_delete_module, "delete_module" },
};
#define NCALLS ((int)(sizeof(calls) / sizeof(calls[0])))

static int filter(void)
{
	struct sock_filter f[NCALLS + 4];
	struct sock_fprog prog = { NCALLS + 3, f };
	int n = 0;

	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (int i = 0; i < NCALLS; i++)
		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].nr, NCALLS - i, 0);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static void text(pid_t pid, unsigned long at, char *buf, size_t size)
{
	struct iovec here = { buf, size - 1 }, there = { (void *)at, size - 1 };
	ssize_t n = process_vm_readv(pid, &here, 1, &there, 1, 0);

	if (n < 0) { // the string ends before a page that is not there
		here.iov_len = there.iov_len = 4096 - at % 4096 < size - 1 ? 4096 - at % 4096 : size - 1;
		n = process_vm_readv(pid, &here, 1, &there, 1, 0);
	}
	buf[n < 0 ? 0 : n] = 0;
}

// changes tells whether a call changes something, or shows a moment of a
// transition (kmend looks at .../transition while it waits), and what.
static int changes(pid_t pid, const struct user_regs_struct *r, const char *call, char *what, size_t size)
{
	char link[64];
	ssize_t n;

	if (!strcmp(call, "openat")) {
		text(pid, r->rsi, what, size);
		n = strlen(what);
		return (r->rdx & (O_WRONLY | O_RDWR | O_CREAT)) || (n > 11 && !strcmp(what + n - 11, "/transition"));
	}
	if (strchr("rum", *call) && strcmp(call, "mkdir") && strcmp(call, "rename") && strcmp(call, "unlink") && strcmp(call, "rmdir")) {
		text(pid, r->rsi, what, size); // …at: the path is the second argument
		return 1;
	}
	if (strstr(call, "module") || *call == 'm' || *call == 'r' || *call == 'u') {
		if (!strcmp(call, "init_module") || !strcmp(call, "finit_module"))
			*what = 0;
		else
			text(pid, r->rdi, what, size);
		return 1;
	}
	// With a descriptor. What goes to pipes, terminals and the runtime's own
	// descriptors changes nothing that lasts.
	snprintf(link, sizeof(link), "/proc/%d/fd/%d", pid, (int)r->rdi);
	n = readlink(link, what, size - 1);
	what[n < 0 ? 0 : n] = 0;
	return *what == '/' && strncmp(what, "/dev/", 5);
}

static const char *name_of(long nr)
{
	for (int i = 0; i < NCALLS; i++)
		if (calls[i].nr == nr)
			return calls[i].name;
	return "?";
}

int main(int argc, char **argv)
{
	int killing = argc > 3 && !strcmp(argv[1], "kill"), status, seen = 0, done = 0;
	long most = killing ? atol(argv[2]) : -1;
	char **command = argv + (killing ? 3 : 4);
	pid_t child;

	if (!killing && (argc < 5 || strcmp(argv[1], "at")))
		return 2;
	child = fork();
	if (!child) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (filter())
			perror("stepper: filter");
		else
			execvp(command[0], command);
		_exit(126);
	}
	waitpid(child, &status, 0);
	if (ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC))
		return 125;
	ptrace(PTRACE_CONT, child, 0, 0);
	for (;;) {
		pid_t pid = waitpid(-1, &status, __WALL);
		int sig = 0, event = status >> 16;
		struct user_regs_struct r;
		char what[256] = "";

		if (pid < 0)
			return 125;
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			if (pid != child)
				continue;
			if (killing)
				printf("stepper: ended after %d\n", seen);
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		}
		if (!event && WSTOPSIG(status) != SIGSTOP)
			sig = WSTOPSIG(status);
		if (event == PTRACE_EVENT_SECCOMP && !ptrace(PTRACE_GETREGS, pid, 0, &r)) {
			const char *call = name_of(r.orig_rax);

			if (changes(pid, &r, call, what, sizeof(what))) {
				if (killing && seen++ == most) {
					printf("stepper: killed before %d: %s %s\n", seen, call, what);
					kill(child, SIGKILL);
					do // the other threads end only for who waits for them
						pid = waitpid(-1, &status, __WALL);
					while (pid >= 0 && (pid != child || !(WIFEXITED(status) || WIFSIGNALED(status))));
					return 137;
				}
				if (!killing && !done && !strcmp(call, argv[2])) {
					done = 1;
					fflush(stdout);
					if (system(argv[3]))
						return 125;
				}
			}
		}
		ptrace(PTRACE_CONT, pid, 0, sig);
	}
}
