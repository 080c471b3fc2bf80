/*
 * The kernel's own list of sockets, sock_diag(7): TCP sockets by local port, Unix sockets by the
 * file that they are bound to. Reading (I/O) and parsing are apart, so that the parser can be
 * fuzzed.
 *
 * Only sockets of our own network namespace are seen.
 */
#ifndef SOCKETS_SOCKET_DIAG_H
#define SOCKETS_SOCKET_DIAG_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define SOCKET_DIAG_NAME_MAX 108 /* sizeof(sun_path) */

/* State bits beyond those of <netinet/tcp.h>: bound, neither listening nor connected (6.8). */
#define SOCKET_DIAG_BOUND_INACTIVE 13

/* One socket. What the kernel did not tell is zero. */
struct diag_socket {
        int family;      /* AF_INET, AF_INET6, AF_UNIX */
        int type;        /* AF_UNIX only */
        int state;       /* TCP_LISTEN, TCP_TIME_WAIT, …; Unix sockets use the same numbers */
        uint32_t inode;  /* 0: no process has it, the kernel alone */
        uint64_t cookie; /* no other socket of this kernel has it, now or later */
        bool has_uid;
        uint32_t uid;
        /* TCP. IPv4 addresses are mapped ones (::ffff:a.b.c.d). */
        struct in6_addr local, remote;
        unsigned local_port, remote_port;
        bool ipv6_only;
        bool in_timer; /* timer_msec says when the kernel lets go of it */
        uint32_t timer_msec;
        /* Unix. */
        bool has_file; /* the file that it is bound to */
        uint32_t file_inode, file_device;
        bool has_queue;
        uint32_t queue_length, queue_limit; /* of a listening one */
        /* The clients in its queue, by inode, the first first; 0: one that has closed. Within the
         * handler only. */
        const uint32_t *clients;
        size_t n_clients;
        bool has_peer;
        uint32_t peer_inode; /* 0: connected, and not accepted yet */
        size_t name_length;
        char name[SOCKET_DIAG_NAME_MAX]; /* not terminated; may begin with NUL (abstract) */
};

/* Called for each socket; a negative result ends it all and is what the caller gets. */
typedef int socket_diag_handler(void *owner, const struct diag_socket *socket);

/*
 * Parse one datagram of the kernel's answer to request `sequence`. Total: any bytes are a valid
 * argument; buffer is aligned as malloc(3) does.
 *
 * 1: the answer is complete, 0: more follows, -EBADMSG, the error that the kernel answered, or what
 * the handler returned.
 */
int socket_diag_parse(const void *buffer, size_t size, uint32_t sequence,
                      socket_diag_handler *handler, void *owner);

/*
 * TCP sockets of AF_INET or AF_INET6 with this local port, any state. Does not block. 0 or a
 * negative errno (-ENOENT: a kernel without tcp_diag).
 */
int socket_diag_tcp(int family, unsigned port, socket_diag_handler *handler, void *owner);

/* Those that listen, whatever their port. */
int socket_diag_tcp_listening(int family, socket_diag_handler *handler, void *owner);

/*
 * The TCP socket with these two ends, both of one family, `local` the one that the socket itself is
 * bound to: of a connection of ours from a to b, the accepted socket is (b, a). Does not block, and
 * does not take longer with more sockets. 0 or a negative errno (-ENOENT: there is none).
 */
int socket_diag_tcp_one(const struct sockaddr *local, const struct sockaddr *remote,
                        struct diag_socket *ret);

/* All Unix sockets. 0 or a negative errno (-ENOENT: a kernel without unix_diag). */
int socket_diag_unix(socket_diag_handler *handler, void *owner);

/* By what socket_diag_tcp(), _tcp_listening() or _unix() returned: has the handler been told of
 * all? A kernel without one kind of list has no sockets of that kind. */
bool socket_diag_is_complete(int result);

/* All listening Unix sockets, with their clients. 0 or a negative errno. */
int socket_diag_unix_clients(socket_diag_handler *handler, void *owner);

/* Was this one accepted from, or does it wait in the queue of, that listener or another one at the
 * same address? */
bool socket_diag_is_of(const struct diag_socket *socket, const struct diag_socket *listener);

/* A question whose answer is read in parts. */
struct socket_diag;

/* Asks for the queues of all listening Unix sockets. 0 or a negative errno. */
int socket_diag_unix_queues(struct socket_diag **ret);
/* The next part, at most 32 KiB, without waiting. 1: that was the last, 0, or a negative errno. */
int socket_diag_read(struct socket_diag *diag, socket_diag_handler *handler, void *owner);
struct socket_diag *socket_diag_free(struct socket_diag *diag); /* NULL allowed; returns NULL */

/* The Unix socket with this inode (of its descriptor). 0 or a negative errno (-ENOENT). */
int socket_diag_unix_one(uint32_t inode, struct diag_socket *ret);

#endif
