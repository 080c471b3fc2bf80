/*
 * The broker's side of its fd store: where descriptors live on when the broker dies. Either the
 * keeper, over a socketpair, or systemd, over NOTIFY_SOCKET; both in the FDSTORE=1 form of
 * sd_pid_notify_with_fds(3), without blocking. A descriptor is stored under the id of its record in
 * the state document (keeper/state.h).
 *
 * What is pushed is sent in order. A packet that is in the keeper's queue outlives us even if it
 * has not been read; systemd may not know the sender of a datagram any more once it is dead, and so
 * there only the barrier tells that a push has arrived.
 */
#ifndef KEEPER_FD_STORE_H
#define KEEPER_FD_STORE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/loop.h"

struct fd_store;
struct log;

enum fd_store_kind {
        FD_STORE_NONE,    /* tests, and a broker without a keeper: nothing is kept */
        FD_STORE_KEEPER,  /* link_fd is our end of the socketpair */
        FD_STORE_SYSTEMD, /* $NOTIFY_SOCKET */
};

/*
 * Takes link_fd (-1 but for FD_STORE_KEEPER), also when it fails. `lost` is called from the loop
 * when the other side is gone; then everything is to be pushed anew to a new one
 * (fd_store_reconnect()). 0, -ENOMEM, or what connecting to NOTIFY_SOCKET said.
 */
int fd_store_new(struct fd_store **ret, enum fd_store_kind kind, int link_fd, struct loop *loop,
                 struct log *log, void (*lost)(void *owner), void *owner);
struct fd_store *fd_store_free(struct fd_store *store);
enum fd_store_kind fd_store_kind(const struct fd_store *store);

/*
 * Store a duplicate of fd under `id`; fd stays the caller's. Replacing an id is remove and push.
 * What cannot be sent at once waits here, with a duplicate of its own; when hundreds do, a push
 * waits for the other side to read, a second at most. 0, -EMFILE, -ENOMEM.
 */
int fd_store_push(struct fd_store *store, const char *id, int fd);
int fd_store_remove(struct fd_store *store, const char *id);

/*
 * Call done() from the loop once everything pushed so far has arrived: at once from here when there
 * is nothing to wait for. One that is waiting when the other side is lost is called after the
 * reconnection. At most FD_STORE_BARRIERS_MAX wait: -EBUSY.
 */
#define FD_STORE_BARRIERS_MAX 64
int fd_store_barrier(struct fd_store *store, void (*done)(void *owner), void *owner);
/* Do not call the barriers of this owner. */
void fd_store_cancel_barriers(struct fd_store *store, const void *owner);

/*
 * Tell the keeper that we serve, or that we end and are not to be started again (systemd is told by
 * sd_notify(3) and needs neither). In order with what was pushed.
 */
enum fd_store_word { FD_STORE_READY, FD_STORE_STOPPING, FD_STORE_EXECUTING, FD_STORE_EXEC };
int fd_store_say(struct fd_store *store, enum fd_store_word word);

/* This program is what the keeper is to start when we die (systemd goes by the unit). Lends fd. */
int fd_store_say_executable(struct fd_store *store, int fd);

/* The link to the keeper, to be passed over an exec in place; -1 when there is none. */
int fd_store_peek_link(const struct fd_store *store);

/* Nothing waits to be sent: whatever was pushed outlives an exec. */
bool fd_store_is_sent(const struct fd_store *store);

/* And no barrier is outstanding. */
bool fd_store_is_settled(const struct fd_store *store);

/*
 * A new keeper: takes link_fd. Then everything is to be pushed again, and fd_store_refilled() asks
 * again for the barriers that had not been answered.
 */
void fd_store_reconnect(struct fd_store *store, int link_fd);
void fd_store_refilled(struct fd_store *store);

#endif
