/*
 * Mends listening sockets that others hold too, and keeps what they change from their successors.
 *
 * A TCP socket that was shut down is mended by listen() on the same socket, as long as its address
 * is still its own: holders and descriptors stay what they are. Where that does not help (a Unix
 * socket, a lost port, a locked filter) a new socket is bound and takes the old one's place in the
 * listener; those who watch are told (LISTENER_REPLACED), because holders keep the old one.
 *
 * What is done when: at every hand-off only what a system call of 200 ns can tell (state, backlog);
 * O_NONBLOCK and options only when nobody holds the listener, since a change under a living holder
 * hangs or breaks it.
 */
#include "sockets/listener_repair.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "cleanup.h"
#include "core/clock.h"
#include "core/process.h"
#include "sockets/bind.h"
#include "sockets/hand_back.h"
#include "sockets/kept.h"
#include "sockets/listener_table_private.h"
#include "sockets/options_pool.h"

/* Repairs at once before a holder that shuts down in a loop is made to wait. */
#define REPAIRS_PER_SECOND 20

#define RETRY_FIRST_USEC 100000ULL
#define RETRY_LAST_USEC 30000000ULL

#define LOG_BURST 10
#define LOG_INTERVAL_USEC 60000000ULL

#define HOLDERS_NAMED 4
#define HOLDER_TEXT_SIZE 64
#define HOLDERS_TEXT_SIZE (HOLDERS_NAMED * HOLDER_TEXT_SIZE + 48)

static int socket_mend(struct listener_socket *socket);
static void retry_later(struct listener_socket *socket);

/* What is to be known of a socket once it had to be mended. */
struct repair {
        struct timer retry;     /* a repair failed and is tried again */
        uint64_t retry_usec;    /* how long it waits */
        struct rate_limit rate; /* of repairs at once */
        struct rate_limit log_rate;
};

/* NULL: no memory. Then repairs are neither limited nor tried again before the next hand-off. */
static struct repair *repair_of(struct listener_socket *socket) {
        if (!socket->repair) {
                socket->repair = calloc(1, sizeof(*socket->repair));
                if (socket->repair)
                        *socket->repair =
                                (struct repair){.rate = {1000000, REPAIRS_PER_SECOND},
                                                .log_rate = {LOG_INTERVAL_USEC, LOG_BURST}};
        }
        return socket->repair;
}

static bool may_log(struct listener_socket *socket) {
        struct repair *repair = repair_of(socket);
        unsigned suppressed;

        return !repair || rate_limit_pass(&repair->log_rate, loop_now_usec(), &suppressed);
}

static struct log *log_of(const struct listener_socket *socket) {
        return socket->listener->table->log;
}

static void holder_text(const struct holder *holder, char ret[HOLDER_TEXT_SIZE]) {
        char name[PROCESS_NAME_SIZE];

        if (holder->pid > 0) {
                process_name(holder->pid, name);
                (void) snprintf(ret, HOLDER_TEXT_SIZE, "%s (pid %d)", name, (int) holder->pid);
        } else {
                (void) snprintf(ret, HOLDER_TEXT_SIZE, "one of another pid namespace (uid %u)",
                                (unsigned) holder->uid);
        }
}

/* "starman (pid 812), gunicorn (pid 900) and 3 more": who may have done it. Returns ret. */
static const char *holders_text(const struct listener *listener, char ret[HOLDERS_TEXT_SIZE]) {
        const struct lease *lease;
        size_t named = 0, used = 0;

        LIST_FOREACH (lease, &listener->leases, in_listener) {
                char text[HOLDER_TEXT_SIZE];

                if (named == HOLDERS_NAMED)
                        break;
                holder_text(lease->holder, text);
                used += (size_t) snprintf(ret + used, HOLDERS_TEXT_SIZE - used, "%s%s",
                                          named ? ", " : "", text);
                named++;
        }
        if (named == 0)
                return strcpy(ret, "nobody (one that has just ended, or inherited it)");
        if (listener->n_leases > named)
                (void) snprintf(ret + used, HOLDERS_TEXT_SIZE - used, " and %zu more",
                                listener->n_leases - named);
        return ret;
}

/* ---- state, from the kernel ---- */

/*
 * Both in one system call: for a listening socket tcpi_sacked is the limit of its queue. Asking for
 * no more than we read. 0 or a negative errno.
 */
static int tcp_read(int fd, bool *ret_listening, uint32_t *ret_limit) {
        struct tcp_info info;
        socklen_t size = offsetof(struct tcp_info, tcpi_sacked) + sizeof(info.tcpi_sacked);

        if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
                return -errno;
        *ret_listening = info.tcpi_state == TCP_LISTEN;
        *ret_limit = info.tcpi_sacked;
        return 0;
}

static bool has_hung_up(int fd) {
        struct pollfd p = {.fd = fd, .events = POLLRDHUP};

        return poll(&p, 1, 0) == 1;
}

static int backlog_set(struct listener_socket *socket) {
        unsigned backlog = socket->listener->config->backlog;
        bool listening;

        if (listen(socket->fd, backlog > INT_MAX ? INT_MAX : (int) backlog) < 0)
                return -errno;
        if (!address_is_unix(&socket->address))
                (void) tcp_read(socket->fd, &listening, &socket->queue_limit);
        return 0;
}

/* ---- guards ---- */

/* A holder that shuts down in a loop must not keep us busy, least of all with binding anew. */
static int mend_within_rate(struct listener_socket *socket) {
        struct repair *repair = repair_of(socket);
        unsigned suppressed;

        if (!repair || rate_limit_pass(&repair->rate, loop_now_usec(), &suppressed))
                return socket_mend(socket);
        retry_later(socket);
        return -EIO;
}

static void on_hung_up(void *owner) {
        (void) mend_within_rate(owner);
}

static int shutdown_guard_begin(struct listener_socket *socket) {
        return shutdown_guard_start(&socket->shutdown_guard,
                                    socket->listener->table->shutdown_watch, socket->fd, on_hung_up,
                                    socket);
}

static void on_path_mended(void *owner) {
        struct listener_socket *socket = owner;

        socket->repairs++;
}

static int replace(struct listener_socket *socket);

static void on_path_lost(void *owner) {
        struct listener_socket *socket = owner;

        socket->replace_only = true;
        (void) replace(socket); /* the guard has said what happened */
}

static void path_guard_begin(struct listener_socket *socket) {
        if (!socket->path_guard)
                socket->path_guard = calloc(1, sizeof(*socket->path_guard));
        if (socket->path_guard)
                path_guard_start(socket->path_guard, socket->listener->table->path_watch,
                                 socket->address.un.sun_path, socket->fd, on_path_lost,
                                 on_path_mended, socket);
        else
                log_error(log_of(socket), ABOUT(.listener = socket->listener->name),
                          "%s is not guarded: %s", socket->address.un.sun_path, strerror(ENOMEM));
}

/* One that came back to us has its snapshot from before, whatever holders made of it meanwhile. */
static int options_know(struct listener_socket *socket) {
        if (socket->options)
                return 0;
        return options_pool_read(socket->listener->table->options, socket->fd, &socket->options);
}

int listener_guard_start(struct listener_socket *socket) {
        struct listener *listener = socket->listener;
        int err;

        if (!socket->marked)
                hand_back_mark(socket->fd);
        err = options_know(socket);
        if (err == 0)
                err = backlog_set(socket);
        if (err == 0 && listener->n_leases == 0)
                err = bind_set_non_blocking(socket->fd, listener->config->non_blocking);
        if (err == 0)
                err = shutdown_guard_begin(socket);
        if (err < 0)
                return err;
        if (address_is_unix(&socket->address) && socket->address.un.sun_path[0] == '/')
                path_guard_begin(socket);
        return 0;
}

static void retry_stop(struct listener_socket *socket) {
        if (socket->repair)
                timer_stop(&socket->repair->retry);
}

void listener_guard_stop(struct listener_socket *socket) {
        retry_stop(socket);
        shutdown_guard_stop(&socket->shutdown_guard);
        if (socket->path_guard)
                path_guard_stop(socket->path_guard);
}

/* ---- repair ---- */

static void on_retry(void *owner) {
        (void) socket_mend(owner);
}

/* Never put off: who asks for the listener over and over must not keep it from being mended. */
static void retry_later(struct listener_socket *socket) {
        struct repair *repair = repair_of(socket);
        uint64_t usec;

        if (!repair || timer_is_started(&repair->retry))
                return;
        usec = repair->retry_usec ? repair->retry_usec : RETRY_FIRST_USEC;
        repair->retry_usec = usec * 2 < RETRY_LAST_USEC ? usec * 2 : RETRY_LAST_USEC;
        timer_start(&repair->retry, socket->listener->table->loop, usec, on_retry, socket);
}

static void mended(struct listener_socket *socket) {
        retry_stop(socket);
        if (socket->repair)
                socket->repair->retry_usec = 0;
        socket->repairs++;
}

/*
 * Free the address of the old socket without closing it, so that there is a way back. Others hold
 * it, so closing our copy alone would free nothing.
 */
static void make_room(struct listener_socket *socket) {
        if (address_is_unix(&socket->address)) {
                struct stat st;

                if (socket->path_guard)
                        path_guard_stop(socket->path_guard); /* else it links the old one again */
                /* Only a socket: a file of someone's at our path is not ours to remove. */
                if (lstat(socket->address.un.sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
                        (void) unlink(socket->address.un.sun_path);
                return;
        }
        shutdown_guard_stop(&socket->shutdown_guard);
        (void) shutdown(socket->fd, SHUT_RD); /* with SO_REUSEADDR on both that is enough */
}

/* The new socket in the old one's place; takes fd. */
static void put_fd(struct listener_socket *socket, int fd) {
        struct listener *listener = socket->listener;
        struct stat st;

        listener_guard_stop(socket);
        close_fd(socket->fd);
        socket->fd = fd;
        socket->options = shared_options_free(socket->options);
        socket->replace_only = false;
        for (size_t i = 0; i < listener->n_sockets; i++)
                if (listener->sockets[i] == socket)
                        listener->fds[i] = fd;
        socket->adopted = false;
        socket->marked = false;
        if (fstat(fd, &st) == 0)
                socket->inode = st.st_ino;
        socket->since_usec = clock_realtime_usec();
        kept_socket_replace(socket);
}

/* Bind anew. 0, or the error of the bind; then it is logged and tried again later. */
static int replace(struct listener_socket *socket) {
        struct listener *listener = socket->listener;
        struct log_about *about = ABOUT(.listener = listener->name);
        char address[ADDRESS_TEXT_SIZE];
        struct bind_report report = {0};
        int fd, err;

        (void) address_text(&socket->address, address);
        make_room(socket);
        err = bind_socket(listener->config, &socket->address, NULL, &fd, &report);
        if (err < 0) {
                retry_later(socket);
                if (may_log(socket))
                        log_error(log_of(socket), about,
                                  "listener %s: %s is lost and cannot be bound anew: %s. It is "
                                  "tried again.",
                                  listener->name, address,
                                  report.reason[0] ? report.reason : strerror(-err));
                return err;
        }
        put_fd(socket, fd);
        mended(socket);
        err = listener_guard_start(socket);
        if (err < 0)
                log_error(log_of(socket), about, "listener %s: %s is not guarded: %s",
                          listener->name, address, strerror(-err));
        kept_socket_put(socket); /* its options are known now */
        if (may_log(socket))
                log_warning(log_of(socket), about,
                            "listener %s: %s has a new socket. Programs that hold the old one must "
                            "be started again.",
                            listener->name, address);
        listener_table_tell(listener, LISTENER_REPLACED);
        return 0;
}

/*
 * Is the address still the socket's own? Ask after listen(): a socket that was not bound to an
 * explicit port has lost it by the shutdown, says nothing of that, and listens on another one.
 */
static bool has_its_address(const struct listener_socket *socket) {
        struct address now;

        return address_of_socket(socket->fd, &now) == 0 && address_equal(&now, &socket->address);
}

static int tcp_mend(struct listener_socket *socket) {
        struct listener *listener = socket->listener;
        char address[ADDRESS_TEXT_SIZE], holders[HOLDERS_TEXT_SIZE];
        int on = 1;

        /* If a holder cleared it, living connections of this port would be in the way. */
        (void) setsockopt(socket->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (backlog_set(socket) < 0 || !has_its_address(socket))
                return replace(socket);
        mended(socket);
        if (may_log(socket))
                log_warning(log_of(socket), ABOUT(.listener = listener->name),
                            "listener %s: %s was shut down by one of its holders and listens "
                            "again; connections that waited were reset. Holders: %s. A program "
                            "that is lent a listener closes it and never calls shutdown() on it.",
                            listener->name, address_text(&socket->address, address),
                            holders_text(listener, holders));
        return shutdown_guard_begin(socket);
}

static int unix_mend(struct listener_socket *socket) {
        struct listener *listener = socket->listener;
        char holders[HOLDERS_TEXT_SIZE];

        socket->replace_only = true;
        if (may_log(socket))
                log_warning(log_of(socket), ABOUT(.listener = listener->name),
                            "listener %s: %s was shut down by one of its holders, which cannot be "
                            "undone; the path is bound anew. Holders: %s. A program that is lent a "
                            "listener closes it and never calls shutdown() on it.",
                            listener->name, socket->address.un.sun_path,
                            holders_text(listener, holders));
        return replace(socket);
}

/* Whatever is wrong with it, or nothing: 0, or why it does not serve (logged, tried again later).
 */
static int socket_mend(struct listener_socket *socket) {
        bool listening = false;
        uint32_t limit;

        if (socket->replace_only)
                return replace(socket);
        if (address_is_unix(&socket->address))
                return has_hung_up(socket->fd) ? unix_mend(socket) : shutdown_guard_begin(socket);
        if (tcp_read(socket->fd, &listening, &limit) < 0 || !listening)
                return tcp_mend(socket);
        return shutdown_guard_begin(socket);
}

/* ---- hand-off and the end of the last lease ---- */

static void backlog_mend(struct listener_socket *socket, uint32_t found) {
        char address[ADDRESS_TEXT_SIZE];

        if (backlog_set(socket) < 0) /* a shutdown came between: the guard sees it */
                return;
        if (found != socket->queue_limit && may_log(socket))
                log_notice(log_of(socket), ABOUT(.listener = socket->listener->name),
                           "listener %s: a holder had set the backlog of %s to %u; it is %u again.",
                           socket->listener->name, address_text(&socket->address, address), found,
                           socket->queue_limit);
}

/*
 * One system call where nothing is wrong. The backlog of a Unix socket is left for when nobody
 * holds it: it can only be read through netlink, and setting it changes what clients see as their
 * peer (SO_PEERCRED is of who called listen(2) last), which a living holder may have meant to be
 * itself.
 */
static int socket_check(struct listener_socket *socket) {
        bool listening = false;
        uint32_t limit = 0;
        int err;

        if (socket->replace_only)
                return socket->repair && timer_is_started(&socket->repair->retry) ? -EIO
                                                                                  : replace(socket);
        if (address_is_unix(&socket->address))
                return has_hung_up(socket->fd) ? mend_within_rate(socket) : 0;
        err = tcp_read(socket->fd, &listening, &limit);
        if (err < 0 || !listening)
                return socket_mend(socket);
        if (limit != socket->queue_limit)
                backlog_mend(socket, limit);
        return 0;
}

/* O_NONBLOCK as configured; nobody is to be told by signals about a listener that nobody holds. */
static void flags_restore(struct listener_socket *socket) {
        int flags = fcntl(socket->fd, F_GETFL);
        int wanted = flags & ~(O_NONBLOCK | O_ASYNC);

        if (flags < 0)
                return;
        if (socket->listener->config->non_blocking)
                wanted |= O_NONBLOCK;
        if (wanted != flags)
                (void) fcntl(socket->fd, F_SETFL, wanted);
}

int listener_check(struct listener *listener) {
        int result = 0;

        for (size_t i = 0; i < listener->n_sockets; i++) {
                struct listener_socket *socket = listener->sockets[i];

                if (socket_check(socket) < 0)
                        result = -EIO;
                if (listener->n_leases > 0)
                        continue;
                flags_restore(socket);
                if (address_is_unix(&socket->address))
                        (void) backlog_set(socket);
                /* A folder moved away further up is not seen by the watch on the folder. */
                if (socket->path_guard)
                        path_guard_check(socket->path_guard);
        }
        return result;
}

static void socket_restore(struct listener_socket *socket) {
        struct log_about *about = ABOUT(.listener = socket->listener->name);
        char changed[SOCKET_OPTIONS_CHANGED_SIZE];
        int err;

        flags_restore(socket);
        (void) fcntl(socket->fd, F_SETOWN, 0);
        err = socket_options_restore(socket->fd, &socket->options->options, changed);
        if (changed[0] && may_log(socket))
                log_notice(log_of(socket), about,
                           "listener %s: a holder had changed %s; restored after the last lease.",
                           socket->listener->name, changed);
        if (err == -EPERM) {
                if (may_log(socket))
                        log_warning(log_of(socket), about,
                                    "listener %s: a holder attached a socket filter and locked it; "
                                    "it goes with the socket.",
                                    socket->listener->name);
                socket->replace_only = true;
        } else if (err < 0 && may_log(socket)) {
                log_warning(log_of(socket), about,
                            "listener %s: not every option could be restored: %s.",
                            socket->listener->name, strerror(-err));
        }
        if (socket_check(socket) == 0 && address_is_unix(&socket->address))
                (void) backlog_set(socket);
}

void listener_restore(struct listener *listener) {
        for (size_t i = 0; i < listener->n_sockets; i++)
                if (listener->sockets[i]->options)
                        socket_restore(listener->sockets[i]);
}
