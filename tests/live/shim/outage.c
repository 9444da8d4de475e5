/*
 * A disk and a name service that fail on demand, for LD_PRELOAD.
 *
 * PLANFIX_OUTAGE_FLAGS  a folder; as long as a file of one of these names is in it,
 *                         sync   fsync() and fdatasync() wait: a disk that does not confirm
 *                         write  and so do write() and pwrite(): a disk whose cache is full
 *                         full   write() and pwrite() fail with ENOSPC
 *                         names  getaddrinfo() waits: silent name servers
 * PLANFIX_OUTAGE_PATH   what the path of a file must contain to be concerned, such as /spool/planfix/
 *
 * Without both in the environment nothing is changed. It depends on the C library alone, because a private Asterisk may
 * bring its own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "writes.h"

enum flag { SYNC, WRITE, FULL, NAMES, FLAGS };

static const char *const words[FLAGS] = { "sync", "write", "full", "names" };
static char flags[FLAGS][PATH_MAX];

/* At the start, because getenv() must not run beside the setenv() of another thread. */
__attribute__((constructor)) static void learn(void)
{
	const char *folder = getenv("PLANFIX_OUTAGE_FLAGS");
	int flag;

	for (flag = 0; folder && flag < FLAGS; flag++) {
		snprintf(flags[flag], sizeof(flags[flag]), "%s/%s", folder, words[flag]);
	}
	path = getenv("PLANFIX_OUTAGE_PATH");
}

static int is_set(enum flag flag)
{
	return *flags[flag] && !access(flags[flag], F_OK);
}

static void wait_for(enum flag flag)
{
	const struct timespec nap = { .tv_nsec = 1000 * 1000 };

	while (is_set(flag)) {
		nanosleep(&nap, NULL);
	}
}

static void confirm(int fd)
{
	int before = errno;

	if ((is_set(SYNC) || is_set(WRITE)) && is_concerned(fd)) {
		wait_for(SYNC);
		wait_for(WRITE);
	}
	errno = before;
}

/* Whether a write fails; it may wait first. */
static int refuses(int fd)
{
	int before = errno;

	if ((is_set(WRITE) || is_set(FULL)) && is_concerned(fd)) {
		wait_for(WRITE);
		if (is_set(FULL)) {
			errno = ENOSPC;
			return 1;
		}
	}
	errno = before;
	return 0;
}

int fsync(int fd)
{
	confirm(fd);
	return syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	confirm(fd);
	return syscall(SYS_fdatasync, fd);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

	*(void **) &real = dlsym(RTLD_NEXT, "getaddrinfo");
	wait_for(NAMES);
	return real(name, service, hints, found);
}
