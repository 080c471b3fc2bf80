/*
 * The server: accepting sessions, and looking after those that no event of their own will wake.
 *
 * One connection is accepted for each time that the socket is readable, so a flood of them takes
 * turns with the sessions that are there. When descriptors run out, or the limit of sessions is
 * reached, accepting pauses: the callers wait in the backlog, and connect(2) makes them wait when
 * that is full. A timer ends the pause, because what else can free a descriptor (a holder that
 * ends) does not tell us.
 */
#include "control/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/component_table.h"
#include "config/config.h"
#include "control/component_store.h"
#include "control/control_private.h"
#include "control/permission.h"
#include "control/succession.h"
#include "core/clock.h"
#include "core/helper.h"

/* Sessions beyond the limit of a user that are kept until they were told so. */
#define TOLD_OF_LIMIT_MAX 8
#define ACCEPT_PAUSE_USEC (1000 * 1000)
#define RETRY_FIRST_USEC (10 * 1000)
#define RETRY_LAST_USEC (1000 * 1000)

/* ---- accepting --------------------------------------------------------------------------------*/

static void on_connection(void *owner, int events);

static void accept_start(struct control *c) {
        timer_stop(&c->accept_pause);
        io_watch_start(&c->accept_watch, c->broker->loop, c->endpoint.fd, IO_READ, on_connection,
                       c);
}

static void on_pause_over(void *owner) {
        accept_start(owner);
}

static void accept_pause(struct control *c) {
        io_watch_stop(&c->accept_watch);
        timer_start(&c->accept_pause, c->broker->loop, ACCEPT_PAUSE_USEC, on_pause_over, c);
}

void control_resume_accept(struct control *c) {
        if (timer_is_started(&c->accept_pause))
                accept_start(c);
}

static void log_pause(struct control *c, const char *why) {
        unsigned suppressed;

        if (rate_limit_pass(&c->accept_failures, loop_now_usec(), &suppressed))
                log_warning(c->broker->log, NULL,
                            "accepting connections to %s pauses: %s; callers wait (%u pauses since "
                            "the last such line)",
                            c->endpoint.path, why, suppressed);
}

static void on_accept_failed(struct control *c, int error) {
        switch (error) {
        case EAGAIN:
        case ECONNABORTED:
        case EINTR:
                return; /* the caller went away again */
        default:
                /* EMFILE, ENFILE, ENOBUFS, ENOMEM; and what we do not know must not spin. */
                log_pause(c, strerror(error));
                accept_pause(c);
        }
}

/*
 * The limit of a user's sessions. A few above it are let in to be told; when not even their first
 * requests come, the rest is closed without a word.
 */
static void refuse_session(struct session *s) {
        struct control *c = s->control;
        unsigned limit = c->broker->limits.sessions_per_user, suppressed;

        if (rate_limit_pass(&s->user->refusals, loop_now_usec(), &suppressed))
                log_warning(c->broker->log, ABOUT(.has_uid = true, .uid = s->peer.uid),
                            "uid %u has %u sessions and gets no more (%u refused since the last "
                            "such line)",
                            (unsigned) s->peer.uid, limit, suppressed);
        if (s->user->sessions - limit <= TOLD_OF_LIMIT_MAX)
                s->over_limit = true;
        else
                session_end(s);
}

/* True when there may be more to accept. */
static bool accept_one(struct control *c) {
        struct session *s;
        int fd, r;

        if (c->n_sessions >= c->broker->limits.sessions) {
                log_pause(c, "the limit of sessions is reached");
                accept_pause(c);
                return false;
        }
        /* Not O_NONBLOCK: message.c says so for each call, and that saves a flag on the file. */
        fd = accept4(c->endpoint.fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
                c->accepts_early = c->accepts_early && errno != EAGAIN;
                on_accept_failed(c, errno);
                return false;
        }
        r = session_new(c, fd, &s);
        if (r < 0) {
                on_accept_failed(c, -r);
                return false;
        }
        if (s->user->sessions > c->broker->limits.sessions_per_user && !permission_is_privileged(s))
                refuse_session(s);
        return true;
}

static void on_connection(void *owner, int events) {
        struct control *c = owner;

        /* Until the backlog was empty once: who connects then is kept from sending descriptors. */
        while (accept_one(c) && c->accepts_early)
                ;
}

/* ---- sessions that wait -----------------------------------------------------------------------*/

static void on_retry(void *owner);

static void retry_start(struct control *c) {
        timer_start(&c->retry, c->broker->loop, c->retry_usec, on_retry, c);
}

/* No event tells that a peer has read, so we look, and less and less often while nothing happens.
 */
static void on_retry(void *owner) {
        struct control *c = owner;
        bool progress = false;

        /* Each to the end of the list before it is asked: it, and others with it, may go away. */
        for (unsigned n = c->n_waiting; n > 0 && !TAILQ_EMPTY(&c->waiting); n--) {
                struct session *s = TAILQ_FIRST(&c->waiting);

                TAILQ_REMOVE(&c->waiting, s, in_waiting);
                TAILQ_INSERT_TAIL(&c->waiting, s, in_waiting);
                if (session_retry(s))
                        progress = true;
        }
        if (TAILQ_EMPTY(&c->waiting))
                return;
        c->retry_usec = progress ? RETRY_FIRST_USEC : 2 * c->retry_usec;
        if (c->retry_usec > RETRY_LAST_USEC)
                c->retry_usec = RETRY_LAST_USEC;
        retry_start(c);
}

void control_wait(struct session *s) {
        struct control *c = s->control;

        if (s->is_waiting)
                return;
        s->is_waiting = true;
        TAILQ_INSERT_TAIL(&c->waiting, s, in_waiting);
        c->n_waiting++;
        /* A timer that is due as soon as that is left alone: else new ones could put it off. */
        if (!timer_is_started(&c->retry) || c->retry_usec != RETRY_FIRST_USEC) {
                c->retry_usec = RETRY_FIRST_USEC;
                retry_start(c);
        }
}

void control_stop_waiting(struct session *s) {
        struct control *c = s->control;

        if (!s->is_waiting)
                return;
        s->is_waiting = false;
        TAILQ_REMOVE(&c->waiting, s, in_waiting);
        c->n_waiting--;
        if (TAILQ_EMPTY(&c->waiting))
                timer_stop(&c->retry);
}

/* ---- life -------------------------------------------------------------------------------------*/

/* Without a private link there is no way back to the very socket that clients wait at. */
static void on_path_lost(void *owner) {
        struct control *c = owner;

        path_guard_stop(&c->path_guard);
        log_error(
                c->broker->log, NULL,
                "the control socket's path %s is gone and cannot be linked again: no client finds "
                "the broker any more; start the broker again",
                c->endpoint.path);
}

static void on_path_mended(void *owner) {
        (void) owner; /* the guard has logged it */
}

/* A path that somebody removes by mistake would leave a broker that nobody can talk to. */
static int guard_path(struct control *c) {
        struct broker *b = c->broker;
        int r = 0;

        if (c->endpoint.path[0] == '/')
                r = path_watch_new(&c->path_watch, b->loop, b->log);
        if (r == 0 && c->path_watch && b->memory)
                path_watch_keep(c->path_watch, b->memory, "control");
        if (r == 0 && c->path_watch)
                path_guard_start(&c->path_guard, c->path_watch, c->endpoint.path, c->endpoint.fd,
                                 on_path_lost, on_path_mended, c);
        return r;
}

static int offer_keeper(const void *broker, int fd) {
        return succession_offer(broker, fd);
}

int control_new(struct control **ret, struct broker *broker) {
        struct control *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->broker = broker;
        c->uid = geteuid();
        c->overflow_uid = peer_overflow_uid();
        c->since_usec = clock_realtime_usec();
        c->accept_failures = (struct rate_limit){.interval_usec = 60 * 1000 * 1000, .burst = 1};
        c->refusals = c->accept_failures;
        LIST_INIT(&c->sessions);
        LIST_INIT(&c->watchers);
        TAILQ_INIT(&c->waiting);
        status_init(&c->status);
        settling_init(&c->settling, c);
        r = broker->memory ? endpoint_give(broker->memory, broker->inherited) : 0;
        if (r == 0)
                r = endpoint_open(&c->endpoint, broker->config->broker.control_socket,
                                  broker->inherited, &(struct endpoint_offer){offer_keeper, broker},
                                  broker->log);
        if (r < 0) {
                free(c);
                return r;
        }
        if (broker->memory)
                endpoint_keep(&c->endpoint, broker->memory, broker->log);
        c->refuses_descriptors = c->endpoint.refuses_descriptors;
        c->accepts_early = c->endpoint.adopted;
        r = stored_table_init(&c->stored, c);
        if (r == 0) {
                component_store_prune(&c->stored, broker->config);
                r = guard_path(c);
        }
        if (r < 0) {
                control_free(c);
                return r;
        }
        accept_start(c);
        *ret = c;
        return 0;
}

void control_serve_components(struct control *c) {
        struct component_callbacks callbacks;

        component_store_callbacks(c, &callbacks);
        component_table_set_callbacks(c->broker->components, &callbacks);
        c->serves_components = true;
}

struct control *control_free(struct control *c) {
        if (!c)
                return NULL;
        listener_table_unwatch(&c->listener_watcher);
        if (c->serves_components)
                component_table_set_callbacks(c->broker->components,
                                              &(struct component_callbacks){0});
        path_guard_stop(&c->path_guard); /* before the path is removed */
        path_watch_free(c->path_watch);
        io_watch_stop(&c->accept_watch);
        timer_stop(&c->accept_pause); /* or the end of a session would start accepting again */
        apply_cancel(&c->apply);
        upgrade_cancel(c);
        c->status.census = helper_stop(c->status.census);
        while (!LIST_EMPTY(&c->sessions))
                session_free(LIST_FIRST(&c->sessions));
        timer_stop(&c->retry);
        settling_clear(&c->settling);
        stored_table_clear(&c->stored);
        disposal_end(c);
        user_table_clear(&c->users);
        endpoint_close(&c->endpoint);
        free(c);
        return NULL;
}

void control_leave_path(struct control *c) {
        if (c->endpoint.adopted)
                c->endpoint.inode = 0;
}

const char *control_path(const struct control *c) {
        return c->endpoint.path;
}

int control_socket_fd(const struct control *c) {
        return c->endpoint.fd;
}

void control_reload(struct broker *broker) {
        apply_reload(broker->control);
}
