/*
 * libfdpass: borrow listening sockets from the fdpass broker, so that a program can be restarted
 * without its address ever being unbound.
 *
 * Most programs need one call:
 *
 *      int fd = fdpass_listener("web");
 *      if (fd < 0)
 *              fprintf(stderr, "no listener: %s\n", strerror(-fd));
 *
 * It works the same under systemd's socket activation, under `fdpass exec`, and straight from the
 * broker.
 *
 * Rules of the whole interface:
 *   - Errors are negative errno values. Out-parameters are written only on success.
 *   - A descriptor that is returned is new, close-on-exec, never 0, 1 or 2, and the caller's to
 *     close(2). No function closes or keeps a descriptor of the caller's, and none returns one of
 *     its own, except fdpass_get_fd(), which is for polling only.
 *   - A listener's O_NONBLOCK flag is shared by all processes that hold the listener
 *     (open file description, open(2)). The broker sets it as configured (NonBlocking=); do not
 *     change it.
 *   - Nothing is logged, nothing exits, there is no global state. Different connection objects may
 *     be used by different threads at once; one object by one thread at a time.
 *   - After fork(2) a connection is the parent's: what is acquired over it counts as lent to the
 *     parent. A child that asks for itself opens its own, and only closes the inherited one.
 *   - Lending cannot be undone: the broker cannot take a descriptor back, and who holds a listener
 *     can shut it down and answer in its name.
 *   - After an error that breaks the conversation (marked "dead" below) the connection's descriptor
 *     stays open, shut down so that a poller wakes, and every call returns -ENOTCONN until
 *     fdpass_close().
 *
 * C89 and C++ clean. Link with `pkg-config --cflags --libs libfdpass`.
 */
#ifndef FDPASS_H
#define FDPASS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

/* A connection to the broker. */
struct fdpass;

/* ---- one call -------------------------------------------------------------------------------- */

/*
 * The listening socket called `name`.
 *
 * If this process was started with LISTEN_FDS (systemd, `fdpass exec`), a passed descriptor whose
 * name in LISTEN_FDNAMES is `name` or `name`.socket is duplicated; if no names were passed at all
 * and there is exactly one descriptor, that one is. The environment is left as it is, so the call
 * can be repeated. Else the broker is asked, over a connection that is closed again: the lease
 * belongs to the process, not to the connection.
 *
 * Blocks for at most 5 seconds.
 *
 * Returns a descriptor, or:
 *   -EINVAL     `name` is NULL or not a possible name (1 to 255 of A-Z a-z 0-9 . _ @ - and not
 *               starting with . or -), or the LISTEN_... variables are malformed
 *   -EBADF      LISTEN_FDS promises a descriptor that is not open
 *   -ENOTUNIQ   the listener has several sockets: call fdpass_listeners()
 *   -ENOENT     no listener of that name, or none that this process may know of; also when
 *               others were passed by LISTEN_FDS and there is no broker to ask
 *   -EACCES     the listener exists and this process may not have it
 *   -EHOSTDOWN  no broker: nothing answers at the control socket (see fdpass_open())
 *   -EMFILE     the descriptor could not be received: this process is at its limit
 *   -ETIMEDOUT  no answer in time
 *   -EPERM      what answers at the control socket is neither root's nor this user's
 *   -ENOMEM
 * Since: 1
 */
int fdpass_listener(const char *name);

/*
 * All sockets of the listener called `name`, in the order of the configuration.
 * *ret_fds is an array for the caller to free(3), each descriptor in it for the caller to close(2).
 *
 * Returns the number of descriptors, at least 1, or an error as fdpass_listener(), but never
 * -ENOTUNIQ.
 * Since: 1
 */
int fdpass_listeners(const char *name, int **ret_fds);

/* ---- what was passed at start ---------------------------------------------------------------- */

/*
 * How many descriptors, from 3 up, were passed to this process by LISTEN_FDS. All get
 * close-on-exec. 0 when none were, or when LISTEN_PID (or LISTEN_PIDFDID, where the kernel can
 * check it: 6.9) names another process. With unset_environment not 0 the four variables LISTEN_FDS,
 * LISTEN_PID, LISTEN_PIDFDID and LISTEN_FDNAMES are removed in any case, which is not thread-safe
 * (unsetenv(3)) and makes a later fdpass_listener() ask the broker.
 *
 * Returns -EINVAL when the variables are malformed; -EBADF when a promised descriptor is not open.
 * Since: 1
 */
int fdpass_listen_fds(int unset_environment);

/*
 * Send assignments such as "READY=1\nSTATUS=serving" to $NOTIFY_SOCKET (a path, or an abstract name
 * after '@'; read by secure_getenv(3)), as sd_notify(3), but never blocking. Each line is
 * KEY=VALUE, no key comes twice.
 *
 * Returns 1 when sent; 0 when NOTIFY_SOCKET is unset; -EAGAIN when the receiver's queue is full;
 * -EINVAL for an empty or ill-formed argument or address; else the error of sendmsg(2).
 * Since: 1
 */
int fdpass_notify(const char *assignments);

/* ---- a connection ---------------------------------------------------------------------------- */

/*
 * Connect to the broker at `path`, or with NULL at $FDPASS_SOCKET, else for root
 * /run/fdpass/broker.sock, else $XDG_RUNTIME_DIR/fdpass/broker.sock, else
 * /tmp/fdpass-UID/broker.sock; a user without a broker of their own (nothing is at that path) falls
 * back to /run/fdpass/broker.sock. The environment is not used in a set-user-ID program
 * (secure_getenv(3)). /tmp/fdpass-UID is used only if it is a real folder of this user with mode
 * 0700.
 *
 * The peer must be of uid 0 or this process's own effective uid (SO_PEERCRED, unix(7)).
 *
 * Blocks for at most 5 seconds, when the broker's backlog is full.
 *
 * Returns 0, or:
 *   -EHOSTDOWN     nothing listens there
 *   -EACCES        the path may not be reached
 *   -EINVAL        `ret` is NULL
 *   -EPERM         the peer is neither root nor this user, or /tmp/fdpass-UID is not to be trusted
 *   -ENAMETOOLONG  the path does not fit into a socket address (107 bytes, unix(7))
 *   -ETIMEDOUT     the broker did not accept in time
 *   -EMFILE -ENFILE -ENOMEM
 * Since: 1
 */
int fdpass_open(struct fdpass **ret, const char *path);

/*
 * Close the connection and free the object; NULL is allowed. Leases are kept: they belong to the
 * process. Never blocks. Returns NULL.
 * Since: 1
 */
struct fdpass *fdpass_close(struct fdpass *c);

/*
 * How long later calls wait for an answer, in milliseconds; -1 waits for ever. 5000 at first.
 * Returns 0, or -EINVAL for 0 and for less than -1.
 * Since: 1
 */
int fdpass_set_timeout(struct fdpass *c, int milliseconds);

/*
 * Borrow the listener `name`, which must have one socket. The broker keeps its own copy and a
 * record of the loan, the lease, which ends when this process ends or calls fdpass_release();
 * closing *ret_fd neither unbinds the address nor ends the lease. Acquiring again is the same
 * lease and gives another descriptor.
 *
 * Blocks up to the connection's timeout. If the broker goes away meanwhile (ECONNRESET) the
 * library connects again, at the same path, and repeats the request, within the same timeout.
 *
 * With -ENOTUNIQ the lease exists all the same: fdpass_acquire_all() or fdpass_release() is next.
 *
 * Returns 0, or an error of fdpass_listener(), and besides:
 *   -EMFILE     as above; the connection is dead
 *   -ETIMEDOUT  as above; the connection is dead
 *   -EPROTO     the answer makes no sense; the connection is dead
 *   -ENOTCONN   the connection is dead
 *   -EDQUOT     the broker refuses: this uid is at a limit
 *   -EHOSTDOWN  the broker went away and none came back in time; the connection is dead
 *   -EREMOTEIO  the broker refuses for a reason that this library does not know: fdpass_error()
 * Since: 1
 */
int fdpass_acquire(struct fdpass *c, const char *name, int *ret_fd);

/*
 * As fdpass_acquire(), for all sockets of the listener. Returns their number.
 * *ret_fds as in fdpass_listeners().
 * Since: 1
 */
int fdpass_acquire_all(struct fdpass *c, const char *name, int **ret_fds);

/*
 * End this process's lease of the listener `name`: the broker's record only. Close the descriptors
 * first.
 *
 * Returns 0; -ENOENT when there is no such lease; and as fdpass_acquire().
 * Since: 1
 */
int fdpass_release(struct fdpass *c, const char *name);

/*
 * Tell the broker that this process serves on what it borrowed; `fdpass status` shows it.
 * Returns 0, or as fdpass_acquire().
 * Since: 1
 */
int fdpass_ready(struct fdpass *c);

/*
 * Tell the broker in one line what this process is doing, for `fdpass status`. At most 255 bytes
 * are kept.
 * Returns 0; -EINVAL when text is NULL or has a newline; and as fdpass_acquire().
 * Since: 1
 */
int fdpass_status(struct fdpass *c, const char *text);

/*
 * Leave copies of `n_fds` descriptors and `size` bytes of data with the broker, under a name, for
 * this user's next process to fdpass_take(). They may be of any kind (listening sockets, open
 * connections, memfds, pipes, pidfds) except epoll sets, io_urings and connections to the broker.
 * At most 252 in one call, or 251 with data; at most 65536 bytes; at least one descriptor or one
 * byte. What was stored under the same name before is replaced. `fds` stay the caller's: close
 * them afterwards, a connection that two processes read from serves nobody well.
 *
 * What is stored belongs to the user, not to the process, and stays until it is taken or replaced,
 * or dropped by `fdpass store drop`; also when the broker is killed or upgraded. Once the call has
 * returned 0 this process may end.
 *
 * The first call on a connection says HELLO before, because the broker takes no descriptors of who
 * has not said it. Blocks as fdpass_acquire(), and repeats the request as that does.
 *
 * Returns 0, or an error of fdpass_acquire() but -ENOENT, and besides:
 *   -EINVAL     bad arguments; or a descriptor is of a kind that cannot be stored: fdpass_error()
 *   -EACCES     this user may not store: StoreAccess= in the broker's configuration
 *   -EDQUOT     this user, or all users together, would have stored more than is allowed
 *   -EBADF      one of `fds` is not open
 *   -ENFILE -ENOMEM -ENOSPC
 *               no memfd for the data, or the broker has no room
 * Since: 1
 */
int fdpass_store(struct fdpass *c, const char *name, const int *fds, size_t n_fds, const void *data,
                 size_t size);

/*
 * Take back what this user stored under `name`. *ret_fds is an array for the caller to free(3),
 * each descriptor in it, in the order in which they were stored, for the caller to close(2); NULL
 * when only data was stored. *ret_data is the data for the caller to free(3), NULL with *ret_size 0
 * when there is none; both may be NULL for who wants no data. File descriptions are shared with
 * whoever else still has them open, and so are their O_NONBLOCK flags and offsets.
 *
 * The broker lets go of its own copies when this library has told it that all has arrived. If that
 * cannot be told any more (the broker is away, or this process dies) they stay stored, and the next
 * call gets the same again.
 *
 * Returns the number of descriptors, which may be 0, or an error of fdpass_acquire(), of which
 *   -ENOENT     nothing is stored under this name for this user
 *   -EBUSY      another process of this user is taking it at this moment
 *   -EMFILE     the descriptors could not be received; they are still stored
 *   -ENFILE -ENOMEM
 *               likewise
 * Since: 1
 */
int fdpass_take(struct fdpass *c, const char *name, int **ret_fds, void **ret_data,
                size_t *ret_size);

/*
 * A sentence about why the last call on this connection failed, as the broker said it, or "" when
 * it said nothing. Valid until the next call. Never NULL.
 * Since: 1
 */
const char *fdpass_error(const struct fdpass *c);

/* ---- events, in the caller's own loop -------------------------------------------------------- */

/*
 * Ask for events about the listener `name`, or with NULL about all that this process may see:
 *   REPLACED  the socket had to be bound anew (NAME=): descriptors held so far are dead, acquire
 *             again
 *   CHANGED   the listener's configuration was changed by an apply (NAME=)
 *   REMOVED   the listener is no longer configured and the broker let go of it (NAME=)
 * After a reconnection the library asks again by itself. It has events of its own:
 *   RECONNECTED  the broker was away, and what it would have told meanwhile is lost: to be sure,
 *                acquire again
 *   UNWATCHED    after that it refused to tell more (NAME= unless all were watched, MESSAGE=)
 *   OVERFLOW     more than 64 events were waiting for fdpass_process(): the oldest were dropped;
 *                comes before those that are left
 * Other types may come: ignore what you do not know.
 *
 * At most 64 different names can be watched on one connection, else -ENOSPC: watch all with NULL.
 *
 * What is acquired on a connection that watches something is kept by it too, as a duplicate (64
 * descriptors at most; nothing is said when one cannot be kept): a broker that has lost everything
 * is handed it back after the reconnection, before RECONNECTED is told. fdpass_release(), a REMOVED
 * or REPLACED that was read, and fdpass_close() close these duplicates. So watch before you
 * acquire.
 *
 * Returns 0, or as fdpass_acquire().
 * Since: 1
 */
int fdpass_watch(struct fdpass *c, const char *name);

/*
 * The descriptor to poll(2) for reading, owned by the connection. It stays the same until
 * fdpass_close(), whatever becomes of the broker, so that a loop registers it once. (It is an
 * epoll(7) set, made by the first call of this function, with the present socket in it, or with a
 * timer while the broker is away.) A dead connection's descriptor is readable.
 *
 * Returns -EMFILE, -ENFILE, -ENOMEM, -ENOSPC when it could not be made.
 * Since: 1
 */
int fdpass_get_fd(struct fdpass *c);

/*
 * The poll(2) events to wait for: POLLIN.
 * Since: 1
 */
int fdpass_get_events(const struct fdpass *c);

/*
 * For how long to poll(2) at most, in milliseconds, -1 for no limit. 0 while an event is queued: a
 * blocking call may have read it from the socket, which is then not readable any more.
 * Since: 1
 */
int fdpass_get_timeout(const struct fdpass *c);

/*
 * Read what has come, without blocking, and make the next event the current one.
 *
 * Returns 1 when there is a current event: call again until 0. 0 when there is none. -EHOSTDOWN
 * while the broker is away: poll and call again, it reconnects by itself, first after a millisecond
 * and at last every second. -ENOTCONN when the connection is dead; -EPROTO, -EMFILE, -ENOMEM and
 * -EPERM (another user's broker has taken the place) say why it died just now.
 * Since: 1
 */
int fdpass_process(struct fdpass *c);

/*
 * The current event's type ("REPLACED") or NULL; valid until the next call on the connection.
 * Since: 1
 */
const char *fdpass_event(const struct fdpass *c);

/*
 * The value of `key` in the current event ("NAME"), or NULL; valid until the next call on the
 * connection.
 * Since: 1
 */
const char *fdpass_event_value(const struct fdpass *c, const char *key);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
