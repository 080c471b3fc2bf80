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
#include "keeper/state.h"
#include "sockets/path_guard.h"
#include "sockets/shutdown_guard.h"

struct listener_table;
struct lease;
struct repair;
struct shared_options;

/* One bound socket of a listener. */
struct listener_socket {
        struct listener *listener;
        int fd;
        char id[STATE_ID_SIZE]; /* of its record; "" when it is not kept (sockets/kept.h) */
        ino_t inode;            /* of the socket, as /proc and sock_diag know it */
        bool adopted;           /* was given to us; not bound by this process */
        bool marked;            /* came to us with hand_back_mark() */
        uint64_t since_usec;    /* CLOCK_REALTIME of bind or adoption */
        uint64_t repairs;       /* listen() again after a shutdown, or bound anew */
        uint32_t left_waiting;  /* connections of our own that we closed before they were accepted:
                                 * at most so many may still be in the queue */
        struct shutdown_guard shutdown_guard;
        struct path_guard *path_guard; /* Unix paths only, else NULL: most are TCP */
        /* The rest is listener_repair.c's; zeroed by who makes the socket. */
        struct shared_options *options; /* what listener_restore() goes back to; NULL: not known */
        uint32_t queue_limit;           /* TCP: what the kernel made of our backlog; 0 unknown */
        bool replace_only;              /* mending is no use: only a new socket helps */
        struct repair *repair;          /* NULL until something was to be mended: most never are */
        /* What it is bound to. What it stands for is the address at its place in the listener's
         * configuration, and differs when it was adopted by its name. Last, because there is only
         * room for this one: see address_size(). */
        struct address address;
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

/* One without sockets, which owns `config` from now on, also on failure. */
struct listener *listener_new(struct listener_table *table, struct socket_config *config);
/* Guards, leases (without restoring anything) and descriptors end. NULL allowed; returns NULL. */
struct listener *listener_free(struct listener *listener);

/* Owns fd only when it succeeds (not NULL). Not guarded yet. */
struct listener_socket *listener_socket_new(const struct address *address, int fd, bool adopted);
struct listener_socket *listener_socket_free(struct listener_socket *socket);

#endif
