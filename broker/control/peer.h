/*
 * Who is at the other end of a session, by the kernel's word alone: the process that called
 * connect(2). What a later user of the same descriptor is, the kernel does not tell and nobody
 * asks.
 */
#ifndef CONTROL_PEER_H
#define CONTROL_PEER_H

#include <stdbool.h>
#include <sys/types.h>

#include "config/access.h"

struct peer {
        uid_t uid;
        gid_t gid;
        pid_t pid; /* 0: in a pid namespace that we do not see */
        bool has_groups;
        size_t n_groups;
        gid_t *groups; /* supplementary ones; read when a rule first needs them */
};

/* SO_PEERCRED. 0 or a negative errno. */
int peer_read(int socket_fd, struct peer *ret);
void peer_clear(struct peer *peer);

/* Does a rule of this list name the peer? Asks the kernel for its groups if that decides. */
bool peer_is_named(struct peer *peer, int socket_fd, const struct access_list *list);

/*
 * A pidfd of the peer's process. -ESRCH: it has ended. -EACCES: it is in a pid namespace that we do
 * not see, and the kernel (before 6.5) has no other way to identify it. -EMFILE, ….
 */
int peer_open_process(int socket_fd, const struct peer *peer);

/* The uid that stands for "cannot be told", proc(5): it matches no rule. */
uid_t peer_overflow_uid(void);

#endif
