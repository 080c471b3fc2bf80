/*
 * One packet and its descriptors, as one object.
 *
 * message.c is the only place in the project that calls recvmsg(2) or sendmsg(2) with control
 * data. Packets travel on SOCK_SEQPACKET Unix sockets (control socket) or SOCK_DGRAM ones
 * (notify sockets): the kernel keeps the boundary and the descriptors of a packet together.
 */
#ifndef FDPASS_MESSAGE_H
#define FDPASS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "fd_list.h"

/* Most bytes in one packet, either direction. Longer answers travel in a sealed memfd. */
#define MESSAGE_SIZE_MAX 16384

struct message {
        size_t size;
        struct fd_list fds;
        char data[MESSAGE_SIZE_MAX];
};

/*
 * Receive one packet, never blocking. The descriptors are close-on-exec and belong to the message.
 *
 * Returns 1 when a packet was received, 0 when the peer has closed (or sent an empty packet, which
 * reads the same: so nobody may send one), or a negative errno with the message empty:
 *   -EAGAIN    nothing there now
 *   -EMSGSIZE  the packet was longer than MESSAGE_SIZE_MAX
 *   -EMFILE    descriptors were truncated (MSG_CTRUNC): as a rule because this process is at its
 *              limit; those that came have been closed. None is ever 0, 1 or 2
 *   others     as recvmsg(2); ECONNRESET when the peer closed with our packets unread
 */
int message_receive(int socket_fd, struct message *message);

/*
 * The same for a caller whom closing them could block: what came with a packet that is reported as
 * 0, -EMFILE or -EMSGSIZE is the message's all the same, for him to have closed.
 */
int message_receive_foreign(int socket_fd, struct message *message);

/* The same without taking the packet: its descriptors are duplicates. */
int message_receive_copy(int socket_fd, struct message *message);

/*
 * message_receive() on a blocking socket: waits for as long as SO_RCVTIMEO says, then -EAGAIN. Also
 * -EINTR: a wait that starts anew after each signal would have no end. (poll(2) and
 * message_receive() do the same in two system calls, 7 % slower for one request and its answer.)
 */
int message_receive_wait(int socket_fd, struct message *message);

/* Who sent a packet, in the kernel's words. */
struct message_sender {
        bool is_known; /* false: the socket has no SO_PASSCRED, or had none when it was sent */
        pid_t pid;     /* 0: of a pid namespace that we do not see */
        uid_t uid;
        gid_t gid;
        int pidfd; /* owned, close-on-exec; -1: no SO_PASSPIDFD (Linux 6.5), or it had ended */
};

/*
 * message_receive(), from a socket with SO_PASSCRED and, for the pidfd, SO_PASSPIDFD, both set
 * before anybody could send to it. *ret_sender is written in every case.
 *
 * Closes no descriptor of the packet: with -EMFILE and -EMSGSIZE, and with 0 (an empty packet),
 * those that came are in message->fds. close() of a foreign descriptor can block, so it is for the
 * caller to say where that happens.
 */
int message_receive_from(int socket_fd, struct message *message, struct message_sender *ret_sender);

/*
 * The same without taking the packet, for who may die before he has written down what it said: the
 * next who looks finds it again. Its descriptors are duplicates. Then message_drop() takes it,
 * whose own descriptors are not the last ones as long as those duplicates are open.
 */
int message_receive_copy_from(int socket_fd, struct message *message,
                              struct message_sender *ret_sender);
void message_drop(int socket_fd);

/*
 * Look at the next packet without taking it or its descriptors, never blocking. *ret_control: it
 * brings descriptors, or (with SO_PASSCRED) anything that is a packet and not the end.
 *
 * Returns the packet's whole length, which is 0 for an empty packet and at the end; -EAGAIN, or as
 * recvmsg(2).
 */
int message_peek(int socket_fd, bool *ret_control);

/*
 * Send one packet with n_fds borrowed descriptors (the kernel duplicates them), never blocking and
 * without SIGPIPE. size must not be 0.
 *
 * Returns 0, or a negative errno: -EAGAIN the peer does not read; -EMSGSIZE longer than
 * MESSAGE_SIZE_MAX; -ETOOMANYREFS too many descriptors of this uid in flight; -EPIPE,
 * -ECONNRESET, -ECONNREFUSED the peer is gone; -EPERM the receiver takes no descriptors
 * (SO_PASSRIGHTS, Linux 6.16).
 */
int message_send(int socket_fd, const void *data, size_t size, const int *fds, size_t n_fds);

/* Close the descriptors that nobody took. */
static inline void message_clear(struct message *message) {
        fd_list_clear(&message->fds);
        message->size = 0;
}

#endif
