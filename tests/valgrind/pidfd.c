/*
 * pidfd_open(2) and pidfd_send_signal(2) for programs under a valgrind that knows neither (3.19,
 * Debian 12's, answers ENOSYS). tests/valgrind/run.py preloads this; it asks a process outside
 * valgrind, over a socket. Everything else about pidfds valgrind passes through.
 */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

int pidfd_open(pid_t pid, unsigned flags);
int pidfd_send_signal(int pidfd, int number, siginfo_t *info, unsigned flags);

union control {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
};

static int send_request(int s, int what, int fd) {
        union control control = {{0}};
        struct iovec iov = {&what, sizeof(what)};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
        struct cmsghdr *c;

        if (fd >= 0) {
                m.msg_control = control.bytes;
                m.msg_controllen = sizeof(control);
                c = CMSG_FIRSTHDR(&m);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(fd));
                memcpy(CMSG_DATA(c), &fd, sizeof(fd));
        }
        return sendmsg(s, &m, MSG_NOSIGNAL) == sizeof(what) ? 0 : -EIO;
}

/* A negative answer is an errno; else it comes with a descriptor, or means that all went well. */
static int receive_answer(int s) {
        union control control = {{0}};
        int answer, fd;
        struct iovec iov = {&answer, sizeof(answer)};
        struct msghdr m = {.msg_iov = &iov,
                           .msg_iovlen = 1,
                           .msg_control = control.bytes,
                           .msg_controllen = sizeof(control)};
        struct cmsghdr *c;

        if (recvmsg(s, &m, MSG_CMSG_CLOEXEC) != sizeof(answer))
                return -EIO;
        c = CMSG_FIRSTHDR(&m);
        if (!c)
                return answer;
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
        return fd;
}

/* what: a pid without a descriptor, a signal's number with one */
static int ask(int what, int fd) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        const char *path = getenv("PIDFD_SERVER");
        int s, r = -ENOSYS;

        if (path && strlen(path) < sizeof(address.sun_path)) {
                strcpy(address.sun_path, path);
                s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
                if (s < 0)
                        return -1;
                r = connect(s, (struct sockaddr *) &address, sizeof(address)) < 0 ? -errno : 0;
                if (r == 0)
                        r = send_request(s, what, fd);
                if (r == 0)
                        r = receive_answer(s);
                close(s);
        }
        if (r >= 0)
                return r;
        errno = -r;
        return -1;
}

int pidfd_open(pid_t pid, unsigned flags) {
        return ask(pid, -1);
}

int pidfd_send_signal(int pidfd, int number, siginfo_t *info, unsigned flags) {
        if (pidfd >= 0)
                return ask(number, pidfd);
        errno = EBADF;
        return -1;
}

/* For who calls it by number. */
long syscall(long number, ...) {
        long (*next)(long, ...);
        long a[6];
        va_list list;

        va_start(list, number);
        for (unsigned i = 0; i < 6; i++)
                a[i] = va_arg(list, long);
        va_end(list);
        if (number == SYS_pidfd_open)
                return pidfd_open((pid_t) a[0], (unsigned) a[1]);
        *(void **) &next = dlsym(RTLD_NEXT, "syscall");
        return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
