/*
 * One listening socket from its configuration: create, options, bind, listen. Everything that can
 * be done to the system on the way (folders, a stale socket file) is done here and nowhere else.
 */
#ifndef SOCKETS_BIND_H
#define SOCKETS_BIND_H

#include <stdbool.h>

#include "config/config.h"

struct path_owners;

#define BIND_REASON_SIZE 384

/* What happened on the way; `reason` is a clause for people, without name and address. */
struct bind_report {
        unsigned folders_made; /* parent folders of a Unix path that were missing */
        char reason[BIND_REASON_SIZE];
};

/*
 * Bind `address` as `config` says and listen: close-on-exec, O_NONBLOCK exactly as NonBlocking=
 * says, at the public path for a Unix address. A socket file to which no living socket is bound is
 * removed first; whether that is so is asked of the kernel (`owners`, a snapshot that the binds of
 * one apply share; NULL: a fresh one each time), and never of who would be disturbed by a connect.
 * The umask is changed around bind(2): single-threaded programs only.
 *
 * 0 with *ret_fd for the caller to close; else nothing is left behind, `report` (may be NULL) has
 * the reason with the next step, and the result is -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, -EEXIST
 * (the path is there and is no socket), -EINVAL (port 0), or another negative errno of the call
 * that failed.
 */
int bind_socket(const struct socket_config *config, const struct address *address,
                struct path_owners *owners, int *ret_fd, struct bind_report *report);

/*
 * Take back what bind_socket() did: the path, when it is still the one that the socket is bound
 * to, and as many parent folders as were made and are empty. Nothing for TCP. Does not close.
 */
void bind_undo(const struct address *address, int fd, unsigned folders_made);

/* Mode and owner of a socket file; what is not set stays. */
struct path_rights {
        mode_t mode;
        uid_t uid; /* (uid_t) -1: leave */
        gid_t gid; /* (gid_t) -1: leave */
};

/* What SocketMode=, SocketUser= and SocketGroup= ask for. */
struct path_rights bind_rights(const struct socket_config *config);

/*
 * Set them on a socket file, never on what a symbolic link or a file put in its place points to.
 * `ret_before` (may be NULL) is what they were. 0, -EEXIST (no socket), -EPERM, -ENOENT, ….
 */
int bind_set_rights(const char *path, const struct path_rights *rights,
                    struct path_rights *ret_before);

/* O_NONBLOCK of the open file description, hence of every holder. 0 or a negative errno. */
int bind_set_non_blocking(int fd, bool non_blocking);

#endif
