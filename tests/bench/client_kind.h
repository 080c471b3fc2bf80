/*
 * The ways to borrow a descriptor that are compared: one table row each, so that the loops which
 * measure them are the same code.
 */
#ifndef BENCH_CLIENT_KIND_H
#define BENCH_CLIENT_KIND_H

struct connection {
        int fd;
        void *handle;
};

/* Calls that fail end the program, with a sentence. */
struct client {
        const char *kind;
        void (*open)(struct connection *c, const char *path);
        int (*acquire)(struct connection *c, const char *name); /* a descriptor for us to close */
        void (*close)(struct connection *c);
};

extern const struct client client_packet;  /* sendmsg and recvmsg, as docs/protocol.md shows */
extern const struct client client_library; /* libfdpass */
#ifdef HAVE_S6
extern const struct client client_s6; /* libs6 */
#endif

#endif
