/*
 * Hand-back: the last resort of a broker that starts with nothing in its hands, because keeper and
 * broker ended together. A listener is not lost then as long as one process that was lent it lives:
 * the broker takes its own socket back from there, with pidfd_getfd(2).
 *
 * What may be taken back is decided by the socket, not by what a process says of itself. Each
 * listening socket of a broker bears a mark that only its maker's user or root can set, and that
 * stays with the socket however it is passed on; a socket without it is somebody else's server, and
 * is left alone. From whom it is taken is decided by the rule of lending: root, the broker's own
 * user, or whom Access= names.
 *
 * Reads /proc of every process, so at start only, when nobody is served yet.
 */
#ifndef SOCKETS_HAND_BACK_H
#define SOCKETS_HAND_BACK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "config/config.h"
#include "core/process.h"

struct hand_back;
struct listener_socket;
struct path_owners;

#define HAND_BACK_REASON_SIZE 384

/*
 * Mark a listening socket as a broker's. Fails without harm for one that another user made (systemd
 * passed it to a user's broker): that one is not taken back.
 */
void hand_back_mark(int fd);
/* By a broker of our user; what fstat(2) says of the socket. */
bool hand_back_is_marked(const struct stat *st);

/* Reads nothing yet: one look at all processes is taken at the first question. -ENOMEM. */
int hand_back_new(struct hand_back **ret);
struct hand_back *hand_back_free(struct hand_back *all); /* NULL allowed; returns NULL */

/* From whom a socket was taken; or why it was not, a clause for people ("": no such socket). */
struct hand_back_report {
        pid_t pid;
        char name[PROCESS_NAME_SIZE];
        char reason[HAND_BACK_REASON_SIZE];
};

/*
 * The listening socket of exactly this address, from a living process that may hold this listener.
 *
 * 0 with *ret_fd for the caller to close; -ENOENT: no process that we can see holds a broker's
 * socket with this address; -EBUSY: another broker holds it; -EACCES: only processes that may not
 * hold this listener do; -EPERM: the kernel does not let us; -ENOMEM, -EMFILE, ….
 */
int hand_back_take(struct hand_back *all, const struct socket_config *config,
                   const struct address *address, struct path_owners *owners, int *ret_fd,
                   struct hand_back_report *report);

/*
 * Is this socket one of a broker, of our user or root, with this address in our network namespace?
 * Never for a descriptor that may be something else than a socket: it is asked for its inode.
 */
bool hand_back_knows(int fd, const struct address *address);

/*
 * Does another broker or keeper of our user or root, which we can see and which lives, hold this
 * socket? 1 with its pid, 0, or -ENOMEM, -EMFILE, …. Reads /proc of every process.
 */
int hand_back_find_broker(int fd, pid_t *ret_pid);

/*
 * Leases for those who hold a socket that was taken back, which stands in its listener. A process
 * whose parent holds it too has it from there, as a worker of a prefork server does, and gets none.
 */
void hand_back_begin_leases(struct hand_back *all, struct listener_socket *socket);

#endif
