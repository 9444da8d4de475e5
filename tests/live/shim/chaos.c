/*
 * A clock, a disk and a name service that are wrong on demand, for LD_PRELOAD.
 *
 * PLANFIX_CHAOS_SWITCHES  a file of four numbers, which is mapped and may be changed at any time:
 *                           64 bits  by how many seconds the wall clock is ahead
 *                           32 bits  what the disk refuses to write with, such as ENOSPC; 0: nothing
 *                           32 bits  the name service: 1 does not know, 2 does not answer
 * PLANFIX_CHAOS_PATH      what the path of a file must contain to be on that disk
 * PLANFIX_CHAOS_HOST      a name that leads to 127.0.0.1
 *
 * Without the first nothing is changed. The steady clock is never wrong, as on a real machine. Who waits for a moment of the
 * wall clock waits as long as it was meant: the kernel knows nothing of ours. It depends on the C library alone, because a
 * private Asterisk may bring its own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "writes.h"

struct switches {
	int64_t ahead;
	int32_t refusal;
	int32_t names;
};

/* A steady clock does not get as far as this. */
#define WALL 1000000000

static volatile const struct switches *switches;
static const char *host;

/* At the start, because getenv() must not run beside the setenv() of another thread. */
__attribute__((constructor)) static void learn(void)
{
	const char *name = getenv("PLANFIX_CHAOS_SWITCHES");
	void *mapped;
	int fd;

	path = getenv("PLANFIX_CHAOS_PATH");
	host = getenv("PLANFIX_CHAOS_HOST");
	if (!name || (fd = open(name, O_RDONLY | O_CLOEXEC)) < 0) {
		return;
	}
	mapped = mmap(NULL, sizeof(*switches), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (mapped != MAP_FAILED) {
		switches = mapped;
	}
}

static int64_t ahead(void)
{
	return switches ? switches->ahead : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	static int (*next)(clockid_t, struct timespec *);
	int res;

	if (!next) {
		*(void **) &next = dlsym(RTLD_NEXT, "clock_gettime");
	}
	res = next(clock, now);
	if (!res && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
		now->tv_sec += ahead();
	}
	return res;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;

	(void) zone;
	clock_gettime(CLOCK_REALTIME, &precise);
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *into)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (into) {
		*into = now.tv_sec;
	}
	return now.tv_sec;
}

static struct timespec real(const struct timespec *until)
{
	struct timespec moment = *until;

	if (moment.tv_sec > WALL) {
		moment.tv_sec -= ahead();
	}
	return moment;
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
	const struct timespec *restrict until)
{
	static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
	struct timespec moment = real(until);

	if (!next) {
		/* There is an older one of that name, which knows another layout. */
		void *found = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");

		*(void **) &next = found ? found : dlsym(RTLD_NEXT, "pthread_cond_timedwait");
	}
	return next(cond, mutex, &moment);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until)
{
	static int (*next)(pthread_mutex_t *, const struct timespec *);
	struct timespec moment = real(until);

	if (!next) {
		*(void **) &next = dlsym(RTLD_NEXT, "pthread_mutex_timedlock");
	}
	return next(mutex, &moment);
}

int sem_timedwait(sem_t *restrict sem, const struct timespec *restrict until)
{
	static int (*next)(sem_t *, const struct timespec *);
	struct timespec moment = real(until);

	if (!next) {
		*(void **) &next = dlsym(RTLD_NEXT, "sem_timedwait");
	}
	return next(sem, &moment);
}

static int refuses(int fd)
{
	int before = errno;
	int refusal = switches ? switches->refusal : 0;

	if (refusal && is_concerned(fd)) {
		errno = refusal;
		return 1;
	}
	errno = before;
	return 0;
}

int ftruncate(int fd, off_t length)
{
	return refuses(fd) ? -1 : syscall(SYS_ftruncate, fd, length);
}

int ftruncate64(int fd, off64_t length)
{
	return refuses(fd) ? -1 : syscall(SYS_ftruncate, fd, length);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	static int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	const struct timespec nap = { .tv_nsec = 10 * 1000 * 1000 };

	if (!next) {
		*(void **) &next = dlsym(RTLD_NEXT, "getaddrinfo");
	}
	if (!switches || !name || !host || strcmp(name, host)) {
		return next(name, service, hints, found);
	}
	while (switches->names == 2) {
		nanosleep(&nap, NULL);
	}
	return switches->names ? EAI_AGAIN : next("127.0.0.1", service, hints, found);
}
