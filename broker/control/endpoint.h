/* The control socket itself: the path, the lock beside it, and the listening descriptor. */
#ifndef CONTROL_ENDPOINT_H
#define CONTROL_ENDPOINT_H

#include <stdbool.h>
#include <sys/types.h>

#include "control_socket.h"

struct inherited;
struct memory;
struct log;

/* The name by which a service manager hands us the control socket (FileDescriptorName=). */
#define ENDPOINT_NAME "fdpass-control"
/* The lock beside it, which we keep for ourselves only. */
#define ENDPOINT_LOCK_NAME "fdpass-lock"

struct endpoint {
        int fd;      /* owned; listening, SOCK_SEQPACKET, O_NONBLOCK */
        int lock_fd; /* owned; -1 when no lock could be had beside an adopted socket */
        bool adopted;
        /* SO_PASSRIGHTS=0: the kernel lets no peer send us any that connects from now on. */
        bool refuses_descriptors;
        bool kept;      /* it is in the memory already */
        bool lock_kept; /* the same of the lock */
        ino_t inode;    /* of the path that we bound */
        dev_t device;
        char path[CONTROL_SOCKET_PATH_SIZE];
};

/* What is asked of a broker that has the lock already, over a connection to it; 0: it accepted. */
struct endpoint_offer {
        int (*make)(const void *owner, int fd);
        const void *owner;
};

/*
 * Adopt the socket from `inherited` (may be NULL) or bind it at `path` (NULL: the default place).
 * `offer` may be NULL.
 * Each failure is in the log. 0, -EADDRINUSE (a broker is running there), -EALREADY (one is, and
 * has accepted the offer), -ENAMETOOLONG, -EINVAL
 * (what was handed to us is no such socket), -EEXIST (something else is at the path), or another
 * negative errno.
 */
int endpoint_open(struct endpoint *ret, const char *path, struct inherited *inherited,
                  const struct endpoint_offer *offer, struct log *log);

/*
 * Both descriptors outlive us: clients that call while the broker is away wait in the queue of the
 * very socket that the next one serves.
 */
void endpoint_keep(struct endpoint *endpoint, struct memory *memory, struct log *log);

/* Before endpoint_open(): what was kept goes into `inherited`. -ENOMEM. */
int endpoint_give(struct memory *memory, struct inherited *inherited);

/* Remove the path if we bound it and it is still ours, and close. */
void endpoint_close(struct endpoint *endpoint);

#endif
