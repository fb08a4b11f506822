/* What the self-test runs inside a machine: a program without a C library, so
 * that it runs in an image without one, or without anything. It looks and tries,
 * and prints; the host judges.
 *
 * Each argument is one thing to do:
 *
 *	id                     id UID GID
 *	cwd:PATH               cwd 1 HEX, the working directory, or cwd 0 HEX if it is not PATH
 *	env                    env HEX, for each variable
 *	file:PATH              file ERRNO HEX, the first 64 KiB
 *	own:UID:PATH           own ENTRIES, then other UID HEX for up to 16 files
 *	                       below PATH, on its file system, of another user
 *	unlink:PATH            unlink ERRNO
 *	net:MS                 how long what follows may take together
 *	tcp:SOCKADDR:PAYLOAD   net I ERRNO+ HEX, with - until it is sent: the errno
 *	udp:SOCKADDR:PAYLOAD   of connecting, sending and receiving, 110 (ETIMEDOUT) when the time was over; the
 *	                       answer's first bytes; I counts from 0. Without a
 *	                       payload no answer is waited for
 *
 * SOCKADDR and PAYLOAD are hexadecimal digits of the bytes, as is HEX. All
 * connections are tried at once, and that ends when each is answered or refused.
 *
 * The executables beside this file are made from it by "make probe".
 */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

#ifndef SOURCE
#error "define SOURCE as the SHA-256 of this file"
#endif
__attribute__((used, section(".rodata.source"))) static const char source[] = "probe.c sha256:" SOURCE;

#if defined(__x86_64__)
enum { READ = 0, WRITE = 1, CLOSE = 3, SOCKET = 41, CONNECT = 42, SENDTO = 44, RECVFROM = 45, GETSOCKOPT = 55, GETCWD = 79,
	GETUID = 102, GETGID = 104, GETDENTS64 = 217, CLOCK_GETTIME = 228, EXIT_GROUP = 231, OPENAT = 257, NEWFSTATAT = 262, UNLINKAT = 263, PPOLL = 271 };
enum { DIRECTORY = 0200000, NOFOLLOW = 0400000 };
struct stat { u64 dev, ino, nlink; u32 mode, uid, gid, pad; u64 rest[14]; };
__asm__(".globl _start\n_start:\n\txor %ebp,%ebp\n\tmov %rsp,%rdi\n\tand $-16,%rsp\n\tcall run\n");

static long sys(long n, long a, long b, long c, long d, long e, long f)
{
	long r;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return r;
}
#elif defined(__aarch64__)
enum { READ = 63, WRITE = 64, CLOSE = 57, SOCKET = 198, CONNECT = 203, SENDTO = 206, RECVFROM = 207, GETSOCKOPT = 209, GETCWD = 17,
	GETUID = 174, GETGID = 176, GETDENTS64 = 61, CLOCK_GETTIME = 113, EXIT_GROUP = 94, OPENAT = 56, NEWFSTATAT = 79, UNLINKAT = 35, PPOLL = 73 };
enum { DIRECTORY = 040000, NOFOLLOW = 0100000 };
struct stat { u64 dev, ino; u32 mode, nlink, uid, gid; u64 rest[16]; };
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tmov x0, sp\n\tbl run\n");

static long sys(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
#error "no system calls for this processor"
#endif

enum { AT_FDCWD = -100, AT_SYMLINK_NOFOLLOW = 0x100, CLOEXEC = 02000000, NONBLOCK = 04000 };
enum { EINPROGRESS = 115, EAGAIN = 11, ETIMEDOUT = 110, ENAMETOOLONG = 36, EINVAL = 22 };

static char out[8192];
static u32 used;

static void flush(void)
{
	for (u32 at = 0; at < used;) {
		long n = sys(WRITE, 1, (long)(out + at), used - at, 0, 0, 0);
		if (n <= 0)
			sys(EXIT_GROUP, 1, 0, 0, 0, 0, 0);
		at += n;
	}
	used = 0;
}

static void put(char c)
{
	if (used == sizeof out)
		flush();
	out[used++] = c;
}

static void text(const char *s)
{
	while (*s)
		put(*s++);
}

static void number(u64 n)
{
	char d[20];
	int i = 0;
	do
		d[i++] = '0' + n % 10;
	while (n /= 10);
	while (i)
		put(d[--i]);
}

static void hex(const char *p, long n)
{
	for (; n > 0; n--, p++) {
		put("0123456789abcdef"[(u8)*p >> 4]);
		put("0123456789abcdef"[*p & 15]);
	}
}

static long length(const char *s)
{
	long n = 0;
	while (s[n])
		n++;
	return n;
}

/* after returns what follows a prefix of s, or 0. */
static char *after(char *s, const char *prefix)
{
	while (*prefix)
		if (*s++ != *prefix++)
			return 0;
	return s;
}

static u64 digits(char **s)
{
	u64 n = 0;
	for (; **s >= '0' && **s <= '9'; (*s)++)
		n = 10 * n + (**s - '0');
	return n;
}

/* bytes reads hexadecimal digits in place, up to what is none. */
static long bytes(char **s, char **start)
{
	long n = 0;
	*start = *s;
	for (;; n++) {
		int v = 0;
		for (int i = 0; i < 2; i++) {
			char c = (*s)[i];
			if (c >= '0' && c <= '9')
				v = 16 * v + (c - '0');
			else if (c >= 'a' && c <= 'f')
				v = 16 * v + (c - 'a' + 10);
			else
				return n;
		}
		(*start)[n] = v;
		*s += 2;
	}
}

static char buf[65536];

static void file(const char *path)
{
	long fd = sys(OPENAT, AT_FDCWD, (long)path, CLOEXEC | NONBLOCK, 0, 0, 0), n = 0, got = 0;
	if (fd >= 0) {
		while (n < (long)sizeof buf && (got = sys(READ, fd, (long)(buf + n), sizeof buf - n, 0, 0, 0)) > 0)
			n += got;
		sys(CLOSE, fd, 0, 0, 0, 0, 0);
	}
	text("file ");
	number(fd < 0 ? -fd : got < 0 ? -got : 0);
	put(' ');
	hex(buf, n);
	put('\n');
}

/* look fills in what tells a file from all others. */
static int look(const char *name, struct stat *st)
{
	return sys(NEWFSTATAT, AT_FDCWD, (long)name, (long)st, 0, 0, 0) == 0;
}

enum { MAX_ENTRIES = 100000, MAX_DEPTH = 64, MAX_OTHERS = 16 };

static char path[4096];
static u64 device;
static u32 owner, entries, others;

/* own looks at path[:n], and at what is below it. */
static void own(long n, int depth)
{
	struct stat st;
	if (entries == MAX_ENTRIES || sys(NEWFSTATAT, AT_FDCWD, (long)path, (long)&st, AT_SYMLINK_NOFOLLOW, 0, 0) < 0)
		return;
	if (depth == 0)
		device = st.dev;
	else if (st.dev != device)
		return; /* a volume */
	entries++;
	if (st.uid != owner && others < MAX_OTHERS) {
		others++;
		text("other ");
		number(st.uid);
		put(' ');
		hex(path, n);
		put('\n');
	}
	if ((st.mode & 0170000) != 0040000 || depth == MAX_DEPTH)
		return;
	long fd = sys(OPENAT, AT_FDCWD, (long)path, DIRECTORY | NOFOLLOW | CLOEXEC, 0, 0, 0);
	if (fd < 0)
		return;
	char list[2048];
	long got;
	while ((got = sys(GETDENTS64, fd, (long)list, sizeof list, 0, 0, 0)) > 0) {
		for (long at = 0; at < got; at += *(unsigned short *)(list + at + 16)) {
			const char *name = list + at + 19;
			long len = length(name), i;
			if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
				continue;
			if (n + len + 2 > (long)sizeof path)
				continue;
			path[n] = '/';
			for (i = 0; i <= len; i++)
				path[n + 1 + i] = name[i];
			own(n + 1 + len, depth + 1);
			path[n] = 0;
		}
	}
	sys(CLOSE, fd, 0, 0, 0, 0, 0);
}

struct pollfd { int fd; short events, revents; };
struct timespec { long sec, nsec; };

enum { MAX_NET = 64 };

static struct {
	char *payload;
	long size, sent, got, error; /* error < 0: not known yet */
	int tcp;
	char answer[512];
} net[MAX_NET];
static struct pollfd polled[MAX_NET];
static u32 nets;

static void start(char *s, int tcp)
{
	char *address;
	long n = bytes(&s, &address), fd;
	if (nets == MAX_NET)
		return;
	u32 i = nets++;
	polled[i].fd = -1;
	net[i].tcp = tcp;
	net[i].error = EINVAL;
	if (n < 2 || *s++ != ':')
		return;
	net[i].size = bytes(&s, &net[i].payload);
	fd = sys(SOCKET, (u8)address[0] | (u8)address[1] << 8, (tcp ? 1 : 2) | CLOEXEC | NONBLOCK, 0, 0, 0, 0);
	if (fd < 0) {
		net[i].error = -fd;
		return;
	}
	long r = sys(CONNECT, fd, (long)address, n, 0, 0, 0);
	if (r < 0 && -r != EINPROGRESS) {
		net[i].error = -r;
		sys(CLOSE, fd, 0, 0, 0, 0, 0);
		return;
	}
	net[i].error = -1;
	polled[i].fd = fd;
	polled[i].events = 4; /* POLLOUT */
}

static void settle(u32 i, long error)
{
	net[i].error = error;
	sys(CLOSE, polled[i].fd, 0, 0, 0, 0, 0);
	polled[i].fd = -1;
}

/* step goes on with one connection, of which something is known. */
static void step(u32 i)
{
	long fd = polled[i].fd, n;
	if (!net[i].sent) {
		int error = 0, size = sizeof error;
		sys(GETSOCKOPT, fd, 1, 4, (long)&error, (long)&size, 0); /* SOL_SOCKET, SO_ERROR */
		if (error) {
			settle(i, error);
			return;
		}
		n = sys(SENDTO, fd, (long)net[i].payload, net[i].size, 0x4000, 0, 0); /* MSG_NOSIGNAL */
		if (n < 0) {
			if (-n != EAGAIN)
				settle(i, -n);
			return;
		}
		net[i].sent = 1;
		polled[i].events = 1; /* POLLIN */
		if (!net[i].size)
			settle(i, 0);
		return;
	}
	n = sys(RECVFROM, fd, (long)net[i].answer, sizeof net[i].answer, 0, 0, 0);
	if (n >= 0)
		net[i].got = n;
	if (n != -EAGAIN)
		settle(i, n < 0 ? -n : 0);
}

static long now(void)
{
	struct timespec t = {0, 0};
	sys(CLOCK_GETTIME, 1, (long)&t, 0, 0, 0, 0);
	return t.sec * 1000 + t.nsec / 1000000;
}

static void converse(long ms)
{
	long end = now() + ms;
	for (;;) {
		u32 open = 0;
		for (u32 i = 0; i < nets; i++)
			open += polled[i].fd >= 0;
		long left = end - now();
		if (!open || left <= 0)
			break;
		struct timespec t = {left / 1000, left % 1000 * 1000000};
		if (sys(PPOLL, (long)polled, nets, (long)&t, 0, 0, 0) <= 0)
			continue;
		for (u32 i = 0; i < nets; i++)
			if (polled[i].fd >= 0 && polled[i].revents)
				step(i);
	}
	for (u32 i = 0; i < nets; i++) {
		text("net ");
		number(i);
		put(' ');
		number(net[i].error < 0 ? ETIMEDOUT : net[i].error);
		put(net[i].sent ? '+' : '-');
		put(' ');
		hex(net[i].answer, net[i].got);
		put('\n');
	}
}

__attribute__((used)) void run(long *stack)
{
	long argc = stack[0], ms = 1000;
	char **argv = (char **)(stack + 1), **envp = argv + argc + 1;
	for (long i = 1; i < argc; i++) {
		char *s = argv[i], *rest;
		if (after(s, "id")) {
			text("id ");
			number(sys(GETUID, 0, 0, 0, 0, 0, 0));
			put(' ');
			number(sys(GETGID, 0, 0, 0, 0, 0, 0));
			put('\n');
		} else if ((rest = after(s, "cwd:"))) {
			struct stat a, b;
			long n = sys(GETCWD, (long)buf, sizeof buf, 0, 0, 0, 0);
			text(look(".", &a) && look(rest, &b) && a.dev == b.dev && a.ino == b.ino ? "cwd 1 " : "cwd 0 ");
			hex(buf, n - 1);
			put('\n');
		} else if (after(s, "env")) {
			for (char **e = envp; *e; e++) {
				text("env ");
				hex(*e, length(*e));
				put('\n');
			}
		} else if ((rest = after(s, "file:"))) {
			file(rest);
		} else if ((rest = after(s, "own:"))) {
			long n = 0;
			owner = digits(&rest);
			entries = others = 0;
			for (rest++; rest[n] && n < (long)sizeof path - 1; n++)
				path[n] = rest[n];
			path[n] = 0;
			own(n, 0);
			text("own ");
			number(entries);
			put('\n');
		} else if ((rest = after(s, "unlink:"))) {
			text("unlink ");
			number(-sys(UNLINKAT, AT_FDCWD, (long)rest, 0, 0, 0, 0));
			put('\n');
		} else if ((rest = after(s, "net:"))) {
			ms = digits(&rest);
		} else if ((rest = after(s, "tcp:"))) {
			start(rest, 1);
		} else if ((rest = after(s, "udp:"))) {
			start(rest, 0);
		} else {
			sys(EXIT_GROUP, 2, 0, 0, 0, 0, 0);
		}
	}
	converse(ms);
	flush();
	sys(EXIT_GROUP, 0, 0, 0, 0, 0, 0);
}
