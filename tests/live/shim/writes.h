/*
 * The writes to one disk, for a shim that says when they are refused. Include it behind the other headers, with _GNU_SOURCE set, and
 * define refuses(), which sets errno when it refuses and leaves it alone when not.
 */
/* What the path of a file on that disk contains; nothing is on it without. */
static const char *path;

static int is_concerned(int fd)
{
	char link[64], file[PATH_MAX];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, file, sizeof(file) - 1);
	if (!path || length < 0) {
		return 0;
	}
	file[length] = '\0';
	return strstr(file, path) != NULL;
}

static int refuses(int fd);

ssize_t write(int fd, const void *bytes, size_t count)
{
	return refuses(fd) ? -1 : syscall(SYS_write, fd, bytes, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset)
{
	return refuses(fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset)
{
	return refuses(fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, count, offset);
}
