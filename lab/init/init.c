// SPDX-License-Identifier: GPL-2.0
/*
 * PID 1 of the lab's virtual machines: carries out /lab/plan, then powers off.
 *
 * A line of the plan is a number of seconds, a name, and a command. The command
 * runs on a pseudo terminal of its own, so that what it prints is line buffered
 * and not lost when it is killed. The results go to the virtio port "results"
 * where there is one (no kernel message can tear them there), else to the
 * console:
 *
 *	@init NANOSECONDS		when it started, on this machine's clock
 *	@begin NAME
 *	...what the command prints...
 *	@end NAME exit=0 ms=123		or signal=N, or timeout=SECONDS
 *	@done
 *
 * Begin and end also go to the kernel log, where they tell whose splat is whose.
 * Before that, it loads the modules that /lab/modules names, from /lab/ko.
 *
 * The name "shell" gives the rest of the line the console, without a time limit.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MAX_ARGS	64

static int results = STDOUT_FILENO;
static int kmsg = -1;

static void write_all(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		buf += n;
		len -= n;
	}
}

/* One line, to the results and to the kernel log. */
static void say(const char *fmt, ...)
{
	char line[512], record[sizeof(line) + 16];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	line[n] = '\0';
	write_all(results, line, n);
	/* In one write, and not with dprintf(): the device cannot seek. */
	n = snprintf(record, sizeof(record), "<6>lab: %s", line);
	if (kmsg >= 0)
		write_all(kmsg, record, n);
}

static void power_off(void)
{
	/* On a serial console the last lines may not have left yet */
	tcdrain(results);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void mount_or_warn(const char *type, const char *dir, const char *data)
{
	mkdir(dir, 0755);
	if (mount(type, dir, type, 0, data) && errno != EBUSY)
		fprintf(stderr, "init: mount %s on %s: %s\n", type, dir,
			strerror(errno));
}

/* The virtio port that QEMU calls "results", if there is one. */
static void open_results(void)
{
	char path[300], name[64];
	struct dirent *entry;
	DIR *dir;

	dir = opendir("/sys/class/virtio-ports");
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		int fd, n;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name",
			 entry->d_name);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		n = read(fd, name, sizeof(name));
		close(fd);
		if (n < 8 || strncmp(name, "results", 7))
			continue;
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd >= 0)
			results = fd;
		break;
	}
	closedir(dir);
}

/* Distributions have KVM as a module. */
static void load_modules(void)
{
	char name[128], path[160];
	FILE *list;
	int fd;

	list = fopen("/lab/modules", "r");
	if (!list)
		return;
	while (fscanf(list, "%127s", name) == 1) {
		snprintf(path, sizeof(path), "/lab/ko/%s", name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
			say("@bad module %s: %s", name, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	fclose(list);
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static char **split(char *line)
{
	static char *argv[MAX_ARGS + 1];
	char *word;
	int n = 0;

	for (word = strtok(line, " \t"); word && n < MAX_ARGS;
	     word = strtok(NULL, " \t"))
		argv[n++] = word;
	argv[n] = NULL;
	return argv;
}

static pid_t spawn(char **argv, const char *tty, bool session)
{
	pid_t pid = fork();
	int fd;

	if (pid)
		return pid;

	setsid();
	if (tty) {
		fd = open(tty, O_RDWR);
		if (fd < 0)
			_exit(127);
		if (session)
			ioctl(fd, TIOCSCTTY, 1);
		dup2(fd, STDIN_FILENO);
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		if (fd > STDERR_FILENO)
			close(fd);
	}
	execv(argv[0], argv);
	fprintf(stderr, "init: %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* Copy what the command prints until it has gone; false when time is up. */
static bool relay(int pty, long long deadline)
{
	char buf[4096], *p, *q;
	struct pollfd pfd = { .fd = pty, .events = POLLIN };
	long long left;
	ssize_t n;

	for (;;) {
		left = deadline - now_ms();
		if (left <= 0)
			return false;
		if (poll(&pfd, 1, left > 60000 ? 60000 : (int)left) <= 0)
			continue;
		n = read(pty, buf, sizeof(buf));
		if (n <= 0)
			return true;
		/* The terminal turned every newline into two characters. */
		for (p = q = buf; p < buf + n; p++)
			if (*p != '\r')
				*q++ = *p;
		write_all(results, buf, q - buf);
	}
}

/* Kill whatever the command left behind, without killing ourselves. */
static void kill_rest(pid_t pid)
{
	kill(-pid, SIGKILL);
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static void run(const char *name, int seconds, char **argv)
{
	long long start = now_ms();
	int pty, status = 0;
	bool finished;
	pid_t pid;

	pty = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pty < 0 || grantpt(pty) || unlockpt(pty)) {
		say("@end %s error=pty", name);
		return;
	}
	say("@begin %s", name);
	pid = spawn(argv, ptsname(pty), false);
	finished = relay(pty, start + seconds * 1000LL);
	if (!finished)
		kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	kill_rest(pid);
	close(pty);

	if (!finished)
		say("@end %s timeout=%d", name, seconds);
	else if (WIFSIGNALED(status))
		say("@end %s signal=%d", name, WTERMSIG(status));
	else
		say("@end %s exit=%d ms=%lld", name, WEXITSTATUS(status),
		    now_ms() - start);
}

static void shell(char **argv)
{
	pid_t pid = spawn(argv, "/dev/console", true);

	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void do_plan(FILE *plan)
{
	char line[1024], name[128];
	int seconds, used;

	while (fgets(line, sizeof(line), plan)) {
		line[strcspn(line, "\n")] = '\0';
		if (!line[0] || line[0] == '#')
			continue;
		if (sscanf(line, "%d %127s %n", &seconds, name, &used) != 2 ||
		    !line[used]) {
			say("@bad %s", line);
			continue;
		}
		if (!strcmp(name, "shell"))
			shell(split(line + used));
		else
			run(name, seconds, split(line + used));
	}
}

/*
 * For how long this machine exists, as its time CSR says: in a guest of KVM it is
 * zero when the virtual machine is created.
 */
static void say_time(void)
{
	const char *path = "/proc/device-tree/cpus/timebase-frequency";
	unsigned long ticks, hz = 0;
	unsigned char be[4];
	int fd;

	asm volatile("rdtime %0" : "=r" (ticks));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, be, sizeof(be)) == sizeof(be))
		hz = (unsigned long)be[0] << 24 | be[1] << 16 | be[2] << 8 | be[3];
	if (fd >= 0)
		close(fd);
	if (hz)
		say("@init %lu", (unsigned long)((__uint128_t)ticks * 1000000000 / hz));
}

int main(void)
{
	FILE *plan;

	if (getpid() != 1) {
		fprintf(stderr, "init: only works as PID 1 of a virtual machine\n");
		return 1;
	}

	mount_or_warn("devtmpfs", "/dev", NULL);
	mount_or_warn("proc", "/proc", NULL);
	mount_or_warn("sysfs", "/sys", NULL);
	mount_or_warn("debugfs", "/sys/kernel/debug", NULL);
	mount_or_warn("tmpfs", "/tmp", NULL);
	mkdir("/dev/pts", 0755);
	mount_or_warn("devpts", "/dev/pts", "ptmxmode=0666");
	symlink("pts/ptmx", "/dev/ptmx");
	symlink("/proc/self/fd", "/dev/fd");

	kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	open_results();
	say_time();
	signal(SIGPIPE, SIG_IGN);
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/", 1);
	setenv("TERM", "vt100", 1);
	chdir("/");

	load_modules();
	plan = fopen("/lab/plan", "r");
	if (plan) {
		do_plan(plan);
		fclose(plan);
	} else {
		say("@bad no /lab/plan");
	}
	say("@done");
	power_off();
}
