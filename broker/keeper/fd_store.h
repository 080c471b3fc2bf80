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
 * Store a duplicate of fd under `id`, and never wait: what cannot be sent at once is sent from the
 * loop. So fd, which stays the caller's, is to be open until the id is removed or pushed again.
 * is_first: nothing is stored under this id; else it is replaced (at systemd: remove it before).
 * 0, -ENOMEM.
 */
int fd_store_push(struct fd_store *store, const char *id, int fd, bool is_first);
/* Before its descriptor is closed. */
int fd_store_remove(struct fd_store *store, const char *id);

/*
 * Call done() from the loop once everything pushed so far has arrived: at once from here when there
 * is nothing to wait for. One that is waiting when the other side is lost is called after the
 * reconnection. At most FD_STORE_BARRIERS_MAX wait: -EBUSY. The log tells when one is not answered
 * for a second, once, and when that is over.
 */
#define FD_STORE_BARRIERS_MAX 64
int fd_store_barrier(struct fd_store *store, void (*done)(void *owner), void *owner);
/* Do not call the barriers of this owner. */
void fd_store_cancel_barriers(struct fd_store *store, const void *owner);

/*
 * Tell the keeper that we serve, that we are about to end, or that we end and are not to be started
 * again (systemd is told by sd_notify(3) and needs neither). In order with what was pushed.
 */
enum fd_store_word {
        FD_STORE_READY,
        FD_STORE_ENDING,
        FD_STORE_STOPPING,
        FD_STORE_EXECUTING,
        FD_STORE_EXEC,
        FD_STORE_SOLE,
};
int fd_store_say(struct fd_store *store, enum fd_store_word word);

/* This program is what the keeper is to start when we die (systemd goes by the unit). Lends fd. */
int fd_store_say_executable(struct fd_store *store, int fd);

/* To a keeper that another broker had started: the broker is this one, by its pidfd. Lends fd. */
int fd_store_say_broker(struct fd_store *store, int fd);

/* Of two keepers, the one that leaves and the one that comes, who reads it is in charge. Lends fd.
 */
int fd_store_say_charge(struct fd_store *store, int fd);

/* The other side is gone, whether or not the loop has told so yet. */
bool fd_store_is_lost(const struct fd_store *store);

/* The link to the keeper, to be passed over an exec in place; -1 when there is none. */
int fd_store_peek_link(const struct fd_store *store);

/* Nothing waits to be sent: whatever was pushed outlives an exec. */
bool fd_store_is_sent(const struct fd_store *store);

/*
 * When the last barrier was answered systemd had no room for more, which is logged; then what was
 * pushed before that barrier may not be kept. Never of a keeper.
 */
bool fd_store_is_full(const struct fd_store *store);

/* And no barrier is outstanding. */
bool fd_store_is_settled(const struct fd_store *store);

/*
 * A new keeper: takes link_fd, and closes the link to the one before, from which nothing is
 * expected any more. Then everything is to be pushed again, and fd_store_refilled() asks again for
 * the barriers that had not been answered.
 */
void fd_store_reconnect(struct fd_store *store, int link_fd);
void fd_store_refilled(struct fd_store *store);

#endif
