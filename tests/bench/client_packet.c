/*
 * The smallest client there can be: blocking, one packet out, one packet in. The bare server and
 * the broker are both measured with it, so that the ratio says something of the servers alone.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cleanup.h"
#include "client_kind.h"
#include "measure.h"

static void packet_open(struct connection *c, const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t length = strlen(path);

        if (length >= sizeof(address.sun_path))
                give_up("%s is longer than a socket address", path);
        memcpy(address.sun_path, path, length + 1);
        c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (c->fd < 0)
                give_up_errno("no socket");
        if (connect(c->fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                give_up_errno("nobody answers at %s", path);
}

/* The last descriptor of the packet, -1 when it has none. */
static int descriptor_of(struct msghdr *header) {
        int fd = -1;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
                        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
        return fd;
}

static int packet_acquire(struct connection *c, const char *name) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        char request[320], answer[1024];
        struct iovec iov = {.iov_base = answer, .iov_len = sizeof(answer)};
        struct msghdr header = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        int length = snprintf(request, sizeof(request), "VERB=ACQUIRE\nNAME=%s", name);
        ssize_t n;
        int fd;

        if (length < 0 || (size_t) length >= sizeof(request))
                give_up("the name %s is too long", name);
        if (send(c->fd, request, (size_t) length, MSG_NOSIGNAL) < 0)
                give_up_errno("the request was not sent");
        n = recvmsg(c->fd, &header, MSG_CMSG_CLOEXEC);
        if (n < 0)
                give_up_errno("no answer");
        fd = descriptor_of(&header);
        if (n < 4 || memcmp(answer, "OK=1", 4) != 0 || fd < 0)
                give_up("not an answer with a descriptor: %.*s", (int) n, answer);
        return fd;
}

static void packet_close(struct connection *c) {
        c->fd = close_fd(c->fd);
}

const struct client client_packet = {
        .kind = "packet",
        .open = packet_open,
        .acquire = packet_acquire,
        .close = packet_close,
};
