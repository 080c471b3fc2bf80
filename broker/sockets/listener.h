/*
 * A listener: bound sockets that the broker holds under a name, and the leases on them. The
 * listener owns its descriptors; it lends duplicates through SCM_RIGHTS and nothing else closes
 * them.
 */
#ifndef SOCKETS_LISTENER_H
#define SOCKETS_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "config/config.h"
#include "core/log.h"
#include "core/loop.h"
#include "sockets/path_guard.h"
#include "sockets/shutdown_guard.h"
#include "sockets/socket_options.h"

struct listener_table;
struct lease;

/* One bound socket of a listener. */
struct listener_socket {
        struct listener *listener;
        struct address address;    /* what it is bound to */
        struct address configured; /* what it stands for: differs when it was adopted by its name */
        int fd;
        ino_t inode;         /* of the socket, as /proc and sock_diag know it */
        bool adopted;        /* was given to us; not bound by this process */
        uint64_t since_usec; /* CLOCK_REALTIME of bind or adoption */
        uint64_t repairs;    /* listen() again after a shutdown, or bound anew */
        struct shutdown_guard shutdown_guard;
        struct path_guard path_guard; /* Unix paths only */
        /* The rest is listener_repair.c's; zeroed by who makes the socket. */
        struct socket_options options; /* what listener_restore() goes back to */
        uint32_t queue_limit;          /* TCP: what the kernel made of our backlog; 0 unknown */
        bool replace_only;             /* mending is no use: only a new socket helps */
        struct timer retry;            /* a repair failed and is tried again */
        uint64_t retry_usec;           /* how long it waits */
        struct rate_limit repair_rate; /* of repairs at once */
        struct rate_limit log_rate;    /* of lines about repairs */
};

LIST_HEAD(lease_list, lease);

struct listener {
        const char *name;             /* config->name */
        struct socket_config *config; /* owned: a copy, so that the configuration can be replaced */
        struct listener_table *table;
        size_t n_sockets;
        /* In the order of the configuration. Pointers, because a socket outlives changes around
         * it, moves to another listener, and must not move in memory while it is guarded. */
        struct listener_socket **sockets;
        int *fds; /* fds[i] == sockets[i]->fd: ready to be sent; owned by the sockets */
        struct lease_list leases;
        size_t n_leases;
        size_t position; /* in the table's name order */
};

/* An empty one that owns `config` from now on, also on failure, with room for n_sockets. */
struct listener *listener_new(struct listener_table *table, struct socket_config *config,
                              size_t n_sockets);
/* Guards, leases (without restoring anything) and descriptors end. NULL allowed; returns NULL. */
struct listener *listener_free(struct listener *listener);

/* Owns fd only when it succeeds (not NULL). Not guarded yet. */
struct listener_socket *listener_socket_new(const struct address *address,
                                            const struct address *configured, int fd, bool adopted);
struct listener_socket *listener_socket_free(struct listener_socket *socket);

#endif
