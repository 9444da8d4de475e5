/*
 * A disk that stalls, for LD_PRELOAD: writes to files below a folder, and confirmations of them, wait for as long as a
 * flag file exists.
 *
 * PLANFIX_STALL_FLAG  the flag file
 * PLANFIX_STALL_PATH  what the path of a file must contain to be held up, such as /spool/planfix/
 *
 * Without both in the environment, and in every other program that inherits them, nothing is changed. It depends on the C
 * library alone, because a private Asterisk may bring its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char *flag;
static const char *path;

/* At the start, because getenv() must not run beside the setenv() of another thread. */
__attribute__((constructor)) static void learn(void)
{
	flag = getenv("PLANFIX_STALL_FLAG");
	path = getenv("PLANFIX_STALL_PATH");
}

static int stalls(void)
{
	return !access(flag, F_OK);
}

static void hold(int fd)
{
	const struct timespec nap = { .tv_nsec = 1000 * 1000 };
	char link[64], file[PATH_MAX];
	ssize_t length;
	int before = errno;

	if (flag && path && stalls()) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		length = readlink(link, file, sizeof(file) - 1);
		if (length > 0) {
			file[length] = '\0';
			if (strstr(file, path)) {
				while (stalls()) {
					nanosleep(&nap, NULL);
				}
			}
		}
	}
	errno = before;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset)
{
	hold(fd);
	return syscall(SYS_pwrite64, fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset)
{
	hold(fd);
	return syscall(SYS_pwrite64, fd, bytes, count, offset);
}

int fsync(int fd)
{
	hold(fd);
	return syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	hold(fd);
	return syscall(SYS_fdatasync, fd);
}
