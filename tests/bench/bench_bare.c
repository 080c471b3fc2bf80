/*
 * The floor that the broker is measured against: a server which makes the system calls that the
 * broker makes, in the same order, and nothing else. It parses nothing, looks nothing up, allows
 * everybody and remembers no lease.
 *
 *      bench_bare PATH
 *
 * listens at PATH (SOCK_SEQPACKET), writes a line to standard output when it does, and lends one
 * TCP listener to whoever sends a packet, until it is killed.
 *
 * The sequence, as `strace fdpassd` shows it for a TCP listener and a peer that root runs; when the
 * broker's changes, this file must:
 *
 *   connect   epoll_wait, accept4, getsockopt SO_PEERCRED, epoll_ctl ADD (before the next wait)
 *   acquire   epoll_wait, recvmsg, getsockopt TCP_INFO of the listener, sendmsg with a descriptor;
 *             the first one of a session has, after recvmsg, getsockopt SO_PEERPIDFD and then for a
 *             process that is known poll of its pidfd and close of the new one, for one that is not
 *             epoll_ctl ADD of the pidfd at the end
 *   close     epoll_wait, epoll_ctl MOD (libev, for an EPOLLHUP that nobody asked for), recvmsg
 * (0), ioctl SIOCOUTQ, close; when a connection came with it, that is accepted first
 *
 * Left out is what the broker does once for a process: fcntl F_GETFL of a listener that nobody held
 * before, and reading and restoring its options when the last lease ends. And the broker's
 * epoll_wait has a far-off timeout, which arms a timer in the kernel; here there is none.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "measure.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* As many as the broker has room for in one packet. */
#define PACKET_MAX 16384
#define FDS_MAX 253
#define EVENTS_MAX 64
#define SESSIONS_MAX 4096

/* Arrays by descriptor, so that there is nothing to look up. */
struct server {
        int epoll_fd;
        int control_fd;
        int lent_fd;
        int accepted_fd; /* to be watched before the next wait */
        pid_t known_pid; /* the process that acquired last, and its pidfd */
        int known_pidfd;
        pid_t pid_of[SESSIONS_MAX];
        bool has_acquired[SESSIONS_MAX];
};

static void watch(const struct server *s, int operation, int fd) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

        if (epoll_ctl(s->epoll_fd, operation, fd, &event) < 0)
                give_up_errno("epoll_ctl");
}

static int listen_at(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t length = strlen(path);
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        if (length >= sizeof(address.sun_path))
                give_up("%s is longer than a socket address", path);
        memcpy(address.sun_path, path, length + 1);
        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(fd, 4096) < 0)
                give_up_errno("cannot listen at %s", path);
        return fd;
}

static int make_lent_listener(void) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(fd, 16) < 0)
                give_up_errno("cannot make the listener that is lent");
        return fd;
}

static void accept_session(struct server *s) {
        int fd = accept4(s->control_fd, NULL, NULL, SOCK_CLOEXEC);
        struct ucred peer = {0};
        socklen_t size = sizeof(peer);

        if (fd < 0 || fd >= SESSIONS_MAX)
                give_up("more sessions than %d, or no descriptor for one", SESSIONS_MAX);
        (void) getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
        s->pid_of[fd] = peer.pid;
        s->has_acquired[fd] = false;
        s->accepted_fd = fd;
}

static void end_session(int fd) {
        int unread;

        (void) ioctl(fd, SIOCOUTQ, &unread);
        (void) close(fd);
}

static ssize_t receive(int fd) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
        } control;
        char data[PACKET_MAX];
        struct iovec iov = {.iov_base = data, .iov_len = sizeof(data)};
        struct msghdr header = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };

        return recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
}

static void send_answer(const struct server *s, int fd) {
        static const char text[] = "OK=1\nNAME=s0\nFDS=1\nFDNAME=s0\n";
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct iovec iov = {.iov_base = (void *) text, .iov_len = sizeof(text) - 1};
        struct msghdr header = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &s->lent_fd, sizeof(int));
        (void) sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The pidfd of a process that is not known yet, which is to be watched; else -1. */
static int identify(struct server *s, int fd) {
        struct pollfd p = {.fd = s->known_pidfd, .events = POLLIN};
        socklen_t size = sizeof(int);
        int pidfd = -1;

        (void) getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size);
        if (s->pid_of[fd] != s->known_pid)
                return pidfd;
        (void) poll(&p, 1, 0);
        (void) close(pidfd);
        return -1;
}

static void remember(struct server *s, int fd, int pidfd) {
        if (s->known_pidfd >= 0)
                (void) close(s->known_pidfd);
        s->known_pid = s->pid_of[fd];
        s->known_pidfd = pidfd;
        watch(s, EPOLL_CTL_ADD, pidfd);
}

static void answer(struct server *s, int fd) {
        struct tcp_info info;
        socklen_t size = offsetof(struct tcp_info, tcpi_sacked) + sizeof(info.tcpi_sacked);
        int pidfd = s->has_acquired[fd] ? -1 : identify(s, fd);

        s->has_acquired[fd] = true;
        (void) getsockopt(s->lent_fd, IPPROTO_TCP, TCP_INFO, &info, &size);
        send_answer(s, fd);
        if (pidfd >= 0)
                remember(s, fd, pidfd);
}

static void serve_session(struct server *s, int fd) {
        if (receive(fd) > 0)
                answer(s, fd);
        else
                end_session(fd);
}

/* A known process has ended. */
static void forget(struct server *s) {
        (void) close(s->known_pidfd);
        s->known_pidfd = -1;
        s->known_pid = 0;
}

static void turn(struct server *s) {
        struct epoll_event events[EVENTS_MAX];
        int n;

        if (s->accepted_fd >= 0)
                watch(s, EPOLL_CTL_ADD, s->accepted_fd);
        s->accepted_fd = -1;
        n = epoll_wait(s->epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++)
                if (events[i].events & EPOLLHUP)
                        watch(s, EPOLL_CTL_MOD, events[i].data.fd);
        /* Last first, as libev does. */
        while (n-- > 0) {
                int fd = events[n].data.fd;

                if (fd == s->control_fd)
                        accept_session(s);
                else if (fd == s->known_pidfd)
                        forget(s);
                else
                        serve_session(s, fd);
        }
}

int main(int argc, char *argv[]) {
        struct server s = {.accepted_fd = -1, .known_pidfd = -1};

        if (argc != 2)
                give_up("usage: bench_bare PATH");
        s.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (s.epoll_fd < 0)
                give_up_errno("epoll_create1");
        s.lent_fd = make_lent_listener();
        s.control_fd = listen_at(argv[1]);
        watch(&s, EPOLL_CTL_ADD, s.control_fd);
        (void) puts("ready");
        (void) fflush(stdout);
        for (;;)
                turn(&s);
}
