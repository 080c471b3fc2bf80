/*
 * The options of a listening socket as they were when the broker bound or was given it. Whoever
 * holds the socket can change them for everyone and for good; going back to the snapshot, not to
 * the kernel's defaults, keeps what systemd had configured on an adopted socket.
 */
#ifndef SOCKETS_SOCKET_OPTIONS_H
#define SOCKETS_SOCKET_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct assignments;
struct packet_writer;

#define SOCKET_OPTIONS_MAX 40
#define SOCKET_OPTION_SIZE 16 /* struct timeval, TCP_CA_NAME_MAX */

struct socket_option_value {
        uint8_t size; /* 0: this socket has no such option */
        uint8_t bytes[SOCKET_OPTION_SIZE];
};

/* Without padding: two are the same when their bytes are. */
struct socket_options {
        bool filtered; /* it had a socket filter already */
        struct socket_option_value values[SOCKET_OPTIONS_MAX];
};

/* What the socket has now. 0 or -EBADF, -ENOTSOCK. */
int socket_options_read(int socket_fd, struct socket_options *ret);

/* As fields of a record, SO_LINGER=0000000000000000: a version that has no such option skips it. */
void socket_options_write(const struct socket_options *options, struct packet_writer *w);
void socket_options_parse(const struct assignments *a, struct socket_options *ret);

#define SOCKET_OPTIONS_CHANGED_SIZE 256

/*
 * Put back what differs from the snapshot, and remove a socket filter that was not there. Writes
 * the names of what was put back ("SO_LINGER TCP_NODELAY", "" for nothing) to ret_changed.
 *
 * Returns 0; -EPERM when a locked filter stays: only a new socket helps; or what setsockopt(2) said
 * of the first option that could not be put back, after trying all.
 */
int socket_options_restore(int socket_fd, const struct socket_options *snapshot,
                           char ret_changed[SOCKET_OPTIONS_CHANGED_SIZE]);

#endif
