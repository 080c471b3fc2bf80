/*
 * What the kernel tells of an io_uring, in /proc/PID/fdinfo of its descriptor. One without a
 * descriptor (registered and then closed) is not to be seen. Blocks no longer than any file of
 * /proc, and does not hold up who uses the ring: the kernel tells nothing while it is in use.
 */
#ifndef SOCKETS_RING_INFO_H
#define SOCKETS_RING_INFO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What a descriptor of one is a link to. */
#define RING_LINK "anon_inode:[io_uring]"

/* Called for each socket that is registered in it; 0: an older kernel does not tell which one it
 * is. What is not 0 ends it all, and is what the caller gets. */
typedef int ring_socket_handler(void *owner, uint32_t inode);

/* *ret_accepts: a request for connections waits in it; on which socket is not told. 0, also when
 * nothing is to be had. */
int ring_info_read(pid_t pid, const char *entry, ring_socket_handler *handler, void *owner,
                   bool *ret_accepts);

#endif
