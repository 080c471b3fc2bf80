/* How many connections wait in a listening socket's queue, from our own descriptor. */
#ifndef SOCKETS_QUEUE_H
#define SOCKETS_QUEUE_H

#include <stdint.h>

struct queue {
        uint32_t length; /* connections waiting to be accepted */
        uint32_t limit;  /* as the kernel has it: listen(2)'s argument cut to net.core.somaxconn */
        /* What the kernel dropped of handshakes, most of it because the queue was full: packets, of
         * which one connection may lose several and come all the same. TCP only, else 0. */
        uint64_t drops;
};

/* With TCP_DEFER_ACCEPT the kernel counts one for each connection that is well. */
#define QUEUE_DROPS_UNKNOWN UINT64_MAX

/*
 * TCP: getsockopt TCP_INFO (tcpi_unacked, tcpi_sacked; tcp_diag(7) semantics for listeners) and
 * SO_MEMINFO. Unix: unix_diag over netlink, without a dump. Never blocks. 0, -EINVAL (does not
 * listen, or no longer), -EOPNOTSUPP (the kernel does not tell) or another negative errno.
 */
int queue_read(int socket_fd, struct queue *ret);

#endif
