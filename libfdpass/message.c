/*
 * The one receive path and the one send path. What can go wrong with descriptors in transit is
 * dealt with here, so that no caller needs descriptor code on its error paths.
 */
#include "message.h"

#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "cleanup.h"

#ifndef SCM_PIDFD
#define SCM_PIDFD 4
#endif

/*
 * Room for one more than SCM_MAX_FD. CMSG_SPACE pads, and the padding can take a further
 * descriptor, so the walk below counts by cmsg_len and never by what we asked for.
 */
union control_buffer {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * (FD_LIST_MAX + 1))];
};

/* The kernel puts the sender before the descriptors, so these must not share their room. */
union control_buffer_from {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int)) +
                   CMSG_SPACE(sizeof(int) * (FD_LIST_MAX + 1))];
};

/* False when one of them could not be moved above standard error: it is closed and lost. */
static bool take_descriptors(struct msghdr *header, struct fd_list *list) {
        struct cmsghdr *c;
        bool complete = true;

        for (c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n; i++) {
                        int fd;
                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        /* The kernel gives the lowest free numbers, so also 0 to 2. */
                        fd = fd_above_stdio(fd);
                        if (fd < 0 || fd_list_put_fd(list, fd) < 0)
                                complete = false;
                }
        }
        return complete;
}

static void take_sender(struct msghdr *header, struct message_sender *ret) {
        struct cmsghdr *c;

        for (c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
                struct ucred credentials;
                int fd;

                if (c->cmsg_level != SOL_SOCKET)
                        continue;
                if (c->cmsg_type == SCM_CREDENTIALS &&
                    c->cmsg_len == CMSG_LEN(sizeof(credentials))) {
                        memcpy(&credentials, CMSG_DATA(c), sizeof(credentials));
                        ret->is_known = true;
                        ret->pid = credentials.pid;
                        ret->uid = credentials.uid;
                        ret->gid = credentials.gid;
                }
                if (c->cmsg_type == SCM_PIDFD && c->cmsg_len == CMSG_LEN(sizeof(fd))) {
                        /* A negative errno when there was none to be had. */
                        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
                        ret->pidfd = fd < 0 ? -1 : fd_above_stdio(fd);
                }
        }
}

/* Leaves the descriptors that came in the message, also when it fails. */
static int receive_any(int socket_fd, struct message *message, int flags, void *control,
                       size_t control_size, struct message_sender *sender) {
        struct iovec iov = {.iov_base = message->data, .iov_len = sizeof(message->data)};
        struct msghdr header = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control,
                .msg_controllen = control_size,
        };
        bool complete = true;
        ssize_t n;

        message->size = 0;
        fd_list_init(&message->fds);

        n = recvmsg(socket_fd, &header, flags | MSG_CMSG_CLOEXEC);
        if (n < 0)
                return -errno;

        if (header.msg_controllen > 0)
                complete = take_descriptors(&header, &message->fds);
        if (sender)
                take_sender(&header, sender);
        /* A receiver that is out of descriptors sees success and this flag, never EMFILE. */
        if (!complete || header.msg_flags & (MSG_CTRUNC | MSG_TRUNC))
                return header.msg_flags & MSG_TRUNC ? -EMSGSIZE : -EMFILE;
        message->size = (size_t) n;
        return n > 0;
}

/* What came is in the message whatever is returned. */
static int receive(int socket_fd, struct message *message, int flags) {
        union control_buffer control;

        return receive_any(socket_fd, message, flags, &control, sizeof(control), NULL);
}

int message_receive_foreign(int socket_fd, struct message *message) {
        int r;

        do
                r = receive(socket_fd, message, MSG_DONTWAIT);
        while (r == -EINTR);
        return r;
}

int message_receive_copy(int socket_fd, struct message *message) {
        return receive(socket_fd, message, MSG_DONTWAIT | MSG_PEEK);
}

static int whole(struct message *message, int r) {
        if (r <= 0)
                fd_list_clear(&message->fds);
        return r;
}

int message_receive(int socket_fd, struct message *message) {
        return whole(message, message_receive_foreign(socket_fd, message));
}

int message_receive_wait(int socket_fd, struct message *message) {
        return whole(message, receive(socket_fd, message, 0));
}

static int receive_from(int socket_fd, struct message *message, struct message_sender *ret_sender,
                        int flags) {
        union control_buffer_from control;
        int r;

        *ret_sender = (struct message_sender){.pidfd = -1};
        do
                r = receive_any(socket_fd, message, MSG_DONTWAIT | flags, &control, sizeof(control),
                                ret_sender);
        while (r == -EINTR);
        return r;
}

int message_receive_from(int socket_fd, struct message *message,
                         struct message_sender *ret_sender) {
        return receive_from(socket_fd, message, ret_sender, 0);
}

int message_receive_copy_from(int socket_fd, struct message *message,
                              struct message_sender *ret_sender) {
        return receive_from(socket_fd, message, ret_sender, MSG_PEEK);
}

/* With no room for its descriptors none are made: what is dropped is the packet's hold of them. */
void message_drop(int socket_fd) {
        while (recv(socket_fd, NULL, 0, MSG_DONTWAIT | MSG_TRUNC) < 0 && errno == EINTR)
                ;
}

/*
 * Without a control buffer the kernel makes no descriptors for a packet that is only looked at, and
 * says by MSG_CTRUNC that there was something to be had. The files stay with the queued packet, so
 * nothing is closed here.
 */
int message_peek(int socket_fd, bool *ret_control) {
        char byte;
        struct iovec iov = {.iov_base = &byte, .iov_len = sizeof(byte)};
        struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n;

        do
                n = recvmsg(socket_fd, &header, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        *ret_control = header.msg_flags & MSG_CTRUNC;
        return (int) n;
}

int message_send(int socket_fd, const void *data, size_t size, const int *fds, size_t n_fds) {
        union control_buffer control;
        struct iovec iov = {.iov_base = (void *) data, .iov_len = size};
        struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n;

        if (size == 0 || n_fds > FD_LIST_MAX)
                return -EINVAL;
        if (size > MESSAGE_SIZE_MAX)
                return -EMSGSIZE;
        if (n_fds > 0) {
                header.msg_control = &control;
                /* Not CMSG_SPACE: the padding after the last header would go out uninitialised. */
                header.msg_controllen = CMSG_LEN(sizeof(int) * n_fds);
                struct cmsghdr *c = CMSG_FIRSTHDR(&header);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
        }
        do
                n = sendmsg(socket_fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}
