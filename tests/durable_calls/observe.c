/* Loaded into the real binary (LD_PRELOAD), it writes down the calls by which bytes leave the process: two lines a call, one when it begins and one
 * when it has ended, each appended in one write, so that their order is the order in time. `trace.rs` reads them.
 *
 *   <thread> B <call> <path> <second path> <flags> <offset> <length> <bytes>
 *   <thread> E <call> <result>
 *
 * Paths and bytes are in hexadecimal, "-" where there are none; zeros at the end of the bytes are left out. Calls on a file below the directory
 * FIXRING_OBSERVE_ROOT are told of, and sends that begin with "8=FIX". For msync the bytes are what the memory holds when it begins. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int log_descriptor = -1;
static const char *root = NULL;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) abort();
    return found;
}

__attribute__((constructor)) static void begin_observing(void) {
    const char *path = getenv("FIXRING_OBSERVE_LOG");
    root = getenv("FIXRING_OBSERVE_ROOT");
    if (path == NULL || root == NULL) abort();
    log_descriptor = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (log_descriptor < 0) abort();
}

static int is_below_root(const char *path) { return root != NULL && strncmp(path, root, strlen(root)) == 0; }

/* Fails for what is no file, as a socket. */
static int path_of(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return length > 0 && path[0] == '/';
}

static void resolve(int directory, const char *name, char *path) {
    char parent[PATH_MAX];
    if (name[0] != '/' && directory != AT_FDCWD && path_of(directory, parent))
        snprintf(path, PATH_MAX, "%.2000s/%.2000s", parent, name);
    else
        snprintf(path, PATH_MAX, "%s", name);
}

static size_t hex(char *to, const void *bytes, size_t length) {
    static const char digits[] = "0123456789abcdef";
    if (length == 0) {
        to[0] = '-';
        return 1;
    }
    for (size_t at = 0; at < length; at++) {
        unsigned char byte = ((const unsigned char *)bytes)[at];
        to[2 * at] = digits[byte >> 4];
        to[2 * at + 1] = digits[byte & 15];
    }
    return 2 * length;
}

static void append(const char *line, size_t length) {
    if (syscall(SYS_write, log_descriptor, line, length) != (ssize_t)length) abort();
}

static void begins(const char *call, const char *path, const char *second, long flags, long offset, const void *bytes, size_t length) {
    size_t told = length;
    while (told > 0 && ((const unsigned char *)bytes)[told - 1] == 0) told--;
    char *line = malloc(2 * told + 5 * PATH_MAX);
    if (line == NULL) abort();
    size_t at = (size_t)sprintf(line, "%ld B %s ", syscall(SYS_gettid), call);
    at += hex(line + at, path, strlen(path));
    line[at++] = ' ';
    at += hex(line + at, second, strlen(second));
    at += (size_t)sprintf(line + at, " %ld %ld %zu ", flags, offset, length);
    at += hex(line + at, bytes, told);
    line[at++] = '\n';
    append(line, at);
    free(line);
}

static void ends(const char *call, long result) {
    int error = errno;
    char line[128];
    append(line, (size_t)snprintf(line, sizeof line, "%ld E %s %ld\n", syscall(SYS_gettid), call, result));
    errno = error;
}

/* Tells of a call on a path, which is made between the two lines. */
#define ON_PATH(type, call, path, second, flags, ...)                                     \
    do {                                                                                  \
        if (!is_below_root(path) && !is_below_root(second)) return __VA_ARGS__;           \
        begins(call, path, second, flags, 0, "", 0);                                      \
        type result = __VA_ARGS__;                                                        \
        ends(call, (long)result);                                                         \
        return result;                                                                    \
    } while (0)

/* The same of a call on a descriptor. The flags are those of the open file: O_DSYNC is one. */
#define ON_FILE(type, call, descriptor, offset, bytes, length, ...)                       \
    do {                                                                                  \
        char path[PATH_MAX];                                                              \
        if (!path_of(descriptor, path) || !is_below_root(path)) return __VA_ARGS__;       \
        begins(call, path, "", fcntl(descriptor, F_GETFL), offset, bytes, length);        \
        type result = __VA_ARGS__;                                                        \
        ends(call, (long)result);                                                         \
        return result;                                                                    \
    } while (0)

static int observed_open(int directory, const char *name, int flags, mode_t mode, int (*call)(int, const char *, int, mode_t)) {
    char path[PATH_MAX];
    resolve(directory, name, path);
    ON_PATH(int, "open", path, "", flags, call(directory, name, flags, mode));
}

static int real_openat(int directory, const char *name, int flags, mode_t mode) {
    return REAL(openat64)(directory, name, flags, mode);
}

#define MODE_OF(flags)                                                                    \
    mode_t mode = 0;                                                                      \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                \
        va_list rest;                                                                     \
        va_start(rest, flags);                                                            \
        mode = va_arg(rest, mode_t);                                                      \
        va_end(rest);                                                                     \
    }

int open(const char *name, int flags, ...) {
    MODE_OF(flags)
    return observed_open(AT_FDCWD, name, flags, mode, real_openat);
}

int open64(const char *name, int flags, ...) {
    MODE_OF(flags)
    return observed_open(AT_FDCWD, name, flags, mode, real_openat);
}

int openat(int directory, const char *name, int flags, ...) {
    MODE_OF(flags)
    return observed_open(directory, name, flags, mode, real_openat);
}

int openat64(int directory, const char *name, int flags, ...) {
    MODE_OF(flags)
    return observed_open(directory, name, flags, mode, real_openat);
}

int mkdir(const char *path, mode_t mode) { ON_PATH(int, "mkdir", path, "", 0, REAL(mkdir)(path, mode)); }

int rename(const char *from, const char *to) { ON_PATH(int, "rename", from, to, 0, REAL(rename)(from, to)); }

int unlink(const char *path) { ON_PATH(int, "unlink", path, "", 0, REAL(unlink)(path)); }

int unlinkat(int directory, const char *name, int flags) {
    char path[PATH_MAX];
    resolve(directory, name, path);
    ON_PATH(int, "unlink", path, "", flags, REAL(unlinkat)(directory, name, flags));
}

int fsync(int descriptor) { ON_FILE(int, "fsync", descriptor, 0, "", 0, REAL(fsync)(descriptor)); }

int fdatasync(int descriptor) { ON_FILE(int, "fdatasync", descriptor, 0, "", 0, REAL(fdatasync)(descriptor)); }

int ftruncate64(int descriptor, off64_t length) {
    ON_FILE(int, "truncate", descriptor, length, "", 0, REAL(ftruncate64)(descriptor, length));
}

int fallocate(int descriptor, int mode, off_t offset, off_t length) {
    ON_FILE(int, "allocate", descriptor, offset, "", 0, REAL(fallocate)(descriptor, mode, offset, length));
}

ssize_t write(int descriptor, const void *bytes, size_t length) {
    ON_FILE(ssize_t, "write", descriptor, -1, bytes, length, REAL(write)(descriptor, bytes, length));
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off64_t offset) {
    ON_FILE(ssize_t, "write", descriptor, offset, bytes, length, REAL(pwrite64)(descriptor, bytes, length, offset));
}

static char *joined(const struct iovec *parts, int count, size_t *length) {
    *length = 0;
    for (int part = 0; part < count; part++) *length += parts[part].iov_len;
    char *all = malloc(*length + 1), *to = all;
    if (all == NULL) abort();
    for (int part = 0; part < count; part++) to = mempcpy(to, parts[part].iov_base, parts[part].iov_len);
    return all;
}

ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset) {
    char path[PATH_MAX];
    if (!path_of(descriptor, path) || !is_below_root(path)) return REAL(pwritev)(descriptor, parts, count, offset);
    size_t length;
    char *all = joined(parts, count, &length);
    begins("write", path, "", fcntl(descriptor, F_GETFL), offset, all, length);
    free(all);
    ssize_t result = REAL(pwritev)(descriptor, parts, count, offset);
    ends("write", result);
    return result;
}

static int is_fix(const void *bytes, size_t length) { return length >= 5 && memcmp(bytes, "8=FIX", 5) == 0; }

ssize_t send(int descriptor, const void *bytes, size_t length, int flags) {
    if (!is_fix(bytes, length)) return REAL(send)(descriptor, bytes, length, flags);
    begins("send", "", "", flags, 0, bytes, length);
    ssize_t result = REAL(send)(descriptor, bytes, length, flags);
    ends("send", result);
    return result;
}

/* A file's is its own kind; a socket's is a send. */
ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    char path[PATH_MAX];
    int is_file = path_of(descriptor, path) && is_below_root(path);
    size_t length;
    char *all = joined(parts, count, &length);
    int is_told = is_file || is_fix(all, length);
    if (is_told) begins(is_file ? "write" : "send", is_file ? path : "", "", is_file ? fcntl(descriptor, F_GETFL) : 0, -1, all, length);
    free(all);
    ssize_t result = REAL(writev)(descriptor, parts, count);
    if (is_told) ends(is_file ? "write" : "send", result);
    return result;
}

ssize_t sendmsg(int descriptor, const struct msghdr *message, int flags) {
    size_t length;
    char *all = joined(message->msg_iov, (int)message->msg_iovlen, &length);
    int is_told = is_fix(all, length);
    if (is_told) begins("send", "", "", flags, 0, all, length);
    free(all);
    ssize_t result = REAL(sendmsg)(descriptor, message, flags);
    if (is_told) ends("send", result);
    return result;
}

/* Where shared mappings of files below the root lie, so that an msync has a path. A process has no more of them than this. */
#define MAPPINGS_MAX 256
static struct mapping {
    char *from;
    size_t length;
    char path[PATH_MAX];
} mappings[MAPPINGS_MAX];
static int mapping_count = 0;

void *mmap64(void *address, size_t length, int protection, int flags, int descriptor, off64_t offset) {
    void *memory = REAL(mmap64)(address, length, protection, flags, descriptor, offset);
    char path[PATH_MAX];
    if (memory == MAP_FAILED || descriptor < 0 || !(flags & MAP_SHARED) || !path_of(descriptor, path) || !is_below_root(path)) return memory;
    int at = __atomic_fetch_add(&mapping_count, 1, __ATOMIC_SEQ_CST);
    if (at >= MAPPINGS_MAX) abort();
    mappings[at].length = length;
    memcpy(mappings[at].path, path, PATH_MAX);
    __atomic_store_n(&mappings[at].from, memory, __ATOMIC_RELEASE);
    return memory;
}

/* The newest mapping at an address is the one that is there. */
int msync(void *address, size_t length, int flags) {
    char *from = address;
    int count = __atomic_load_n(&mapping_count, __ATOMIC_SEQ_CST);
    for (int at = count - 1; at >= 0; at--) {
        char *start = __atomic_load_n(&mappings[at].from, __ATOMIC_ACQUIRE);
        if (start == NULL || from < start || from >= start + mappings[at].length) continue;
        begins("msync", mappings[at].path, "", flags, from - start, address, length);
        int result = REAL(msync)(address, length, flags);
        ends("msync", result);
        return result;
    }
    return REAL(msync)(address, length, flags);
}
