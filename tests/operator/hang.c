// Loaded into the engine: its fdatasync(2) does not return while the file FIXRING_HANGS exists, as
// on a volume that does not answer. Nor does the call number FIXRING_HANGS_EPOLL_AT of
// epoll_create1(2) while the file FIXRING_HANGS_EPOLL exists, as on a machine that is slow in
// between.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

int fdatasync(int fd) {
    static int (*real)(int);
    const char *hangs = getenv("FIXRING_HANGS");
    while (hangs && access(hangs, F_OK) == 0)
        usleep(1000);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return real(fd);
}

int epoll_create1(int flags) {
    static int calls;
    const char *hangs = getenv("FIXRING_HANGS_EPOLL");
    if (hangs && ++calls == atoi(getenv("FIXRING_HANGS_EPOLL_AT")))
        while (access(hangs, F_OK) == 0)
            usleep(1000);
    return ((int (*)(int))dlsym(RTLD_NEXT, "epoll_create1"))(flags);
}
