/*
 * The life of a session.
 *
 * One packet is handled for each time that the socket is readable: a client that sends without
 * pause gets its turn like everybody else. Handlers and events never free a session; they set its
 * state to ENDING, and the function that the loop called looks at that last.
 *
 * A session that was ended can leave two things behind which a plain close(2) would get wrong:
 * descriptors that the peer has not read (still counted against our uid while the peer keeps its
 * end open, so a peer that connects again and again could use up the limit), and, on kernels
 * without SO_PASSRIGHTS, descriptors of the peer that we have not read (closing those can block).
 * Hence the states UNREAD and UNCLEAN.
 */
#include "control/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "control/answer.h"
#include "control/control_private.h"
#include "control/disposal.h"
#include "control/in_flight.h"
#include "control/logs.h"
#include "control/offer.h"
#include "control/operate.h"
#include "control/store.h"
#include "control/verbs.h"
#include "sockets/lease.h"
#include "sockets/listener_table.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

static void on_socket(void *owner, int events);

static void log_breach(struct session *s, const char *what) {
        struct log *log = s->control->broker->log;
        unsigned suppressed;

        if (!rate_limit_pass(&s->user->breaches, loop_now_usec(), &suppressed))
                return;
        if (suppressed > 0)
                log_notice(log, ABOUT(.has_uid = true, .uid = s->peer.uid),
                           "%u more disconnections of uid %u were not logged", suppressed,
                           (unsigned) s->peer.uid);
        log_warning(log, ABOUT(.pid = s->peer.pid, .has_uid = true, .uid = s->peer.uid),
                    "disconnected pid %d of uid %u: %s", (int) s->peer.pid, (unsigned) s->peer.uid,
                    what);
}

static const char *breach_text(int error) {
        switch (error) {
        case -EMSGSIZE:
                return "a packet longer than 16384 bytes";
        case -EBADMSG:
                return "a packet that is not lines of KEY=VALUE";
        case -E2BIG:
                return "a packet with more than 64 assignments, or a key over 64 bytes";
        case -EEXIST:
                return "a packet with the same key twice";
        case -EMFILE:
                return "more than 252 descriptors, or no room to receive them";
        default:
                return strerror(-error);
        }
}

/* ---- begin ------------------------------------------------------------------------------------*/

int session_new(struct control *c, int fd, struct session **ret) {
        _cleanup_close_ int owned_fd = fd;
        struct session *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        r = peer_read(fd, &s->peer);
        if (r == 0)
                r = user_get(&c->users, s->peer.uid, &s->user);
        if (r < 0) {
                free(s);
                return r;
        }
        s->fd = take_fd(&owned_fd);
        s->control = c;
        s->refuses_descriptors = c->refuses_descriptors && !c->accepts_early;
        outgoing_init(&s->outgoing);
        LIST_INSERT_HEAD(&c->sessions, s, in_control);
        c->n_sessions++;
        s->watched_events = IO_READ;
        io_watch_start(&s->watch, c->broker->loop, s->fd, IO_READ, on_socket, s);
        *ret = s;
        return 0;
}

int session_holder(struct session *s, struct holder **ret) {
        struct holder_table *table = listener_table_holders(s->control->broker->listeners);

        if (!s->holder) {
                int pidfd = peer_open_process(s->fd, &s->peer);
                int r = pidfd < 0 ? pidfd
                                  : holder_get(table, pidfd, s->peer.pid, s->peer.uid, s->peer.gid,
                                               &s->holder);
                if (r < 0)
                        return r;
        }
        *ret = s->holder;
        return 0;
}

void session_take_descriptors(struct session *s) {
        int yes = 1;

        if (s->takes_descriptors)
                return;
        /* Where there is no such option descriptors come in any case. */
        if (s->control->refuses_descriptors &&
            setsockopt(s->fd, SOL_SOCKET, SO_PASSRIGHTS, &yes, sizeof(yes)) < 0)
                return;
        s->takes_descriptors = true;
}

/* ---- end --------------------------------------------------------------------------------------*/

/* What others would still do with it must not happen any more. */
static void detach(struct session *s) {
        io_watch_stop(&s->watch);
        watch_clear(s);
        apply_forget(&s->control->apply, s);
        upgrade_forget(&s->control->upgrade, s);
        store_forget(s);
        stored_end_taking(&s->control->stored, s);
        status_forget(s);
        operate_forget(s);
        logs_forget(s);
        outgoing_clear(&s->outgoing);
        if (s->holder) {
                holder_put(s->holder);
                s->holder = NULL;
        }
}

void session_free(struct session *s) {
        struct control *c = s->control;

        detach(s);
        control_stop_waiting(s);
        s->user->fds_in_flight -= s->fds_in_flight;
        c->fds_in_flight -= s->fds_in_flight;
        user_put(&c->users, s->user);
        LIST_REMOVE(s, in_control);
        c->n_sessions--;
        peer_clear(&s->peer);
        close_fd(s->fd);
        free(s);
        control_resume_accept(c);
}

/* Then none of a peer's can be in its socket. */
static bool refuses_descriptors(const struct session *s) {
        return s->refuses_descriptors && !s->takes_descriptors;
}

/*
 * Packets that we have not read may carry descriptors. Whether there are any cannot be told from
 * their length, which may be 0: but with SO_PASSCRED every packet brings credentials, and the end
 * of the conversation does not.
 */
static bool may_hold_descriptors(struct session *s) {
        bool something = true;
        int yes = 1, r;

        if (refuses_descriptors(s))
                return false;
        if (setsockopt(s->fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes)) < 0)
                return true;
        do
                r = message_peek(s->fd, &something);
        while (r == -ECONNRESET); /* said once, before the packets that are there all the same */
        return r != -EAGAIN && something;
}

/* What is left of an ended session, besides the record of it. */
static enum session_state remains(struct session *s) {
        if (s->fds_in_flight > 0 && !in_flight_settle(s))
                return SESSION_UNREAD;
        return may_hold_descriptors(s) ? SESSION_UNCLEAN : SESSION_ENDING;
}

/* True when it was freed. */
static bool free_if_possible(struct session *s) {
        s->state = remains(s);
        if (s->state == SESSION_ENDING) {
                session_free(s);
                return true;
        }
        if (s->state == SESSION_UNCLEAN)
                disposal_run(s->control);
        return false;
}

void session_end(struct session *s) {
        s->state = SESSION_ENDING;
        if (refuses_descriptors(s) && (s->fds_in_flight == 0 || in_flight_settle(s))) {
                session_free(s); /* as nearly every session ends */
                return;
        }
        /* From here on the peer can send nothing more, and reads the end after the rest. */
        (void) shutdown(s->fd, SHUT_RDWR);
        detach(s);
        control_wait(s);
        (void) free_if_possible(s);
}

bool session_retry(struct session *s) {
        switch (s->state) {
        case SESSION_UNREAD:
                return free_if_possible(s);
        case SESSION_UNCLEAN:
                disposal_run(s->control); /* there was no child to be had before */
                return false;
        default:
                outgoing_flush(s);
                if (s->state == SESSION_ENDING) {
                        session_end(s);
                        return true;
                }
                return !s->is_waiting;
        }
}

/* ---- reading ----------------------------------------------------------------------------------*/

static void refuse_packet(struct session *s) {
        struct request nobody = {.session = s};

        answer_error(&nobody, EINVAL,
                     "no verb takes descriptors; the conversation ends here because this kernel "
                     "cannot refuse them (SO_PASSRIGHTS, Linux 6.16)");
        log_breach(s, "descriptors that no verb takes");
        s->state = SESSION_ENDING;
}

/*
 * On kernels before 6.16 a packet may bring descriptors, which no verb takes. They are never
 * received: the packet stays in the socket, and a child is holding that when it is closed.
 */
static bool may_receive(struct session *s) {
        bool something = false;
        int r = message_peek(s->fd, &something);

        if (r >= 0 && something)
                refuse_packet(s);
        else if (r < 0 && r != -EAGAIN)
                s->state = SESSION_ENDING; /* ECONNRESET hides what the packet behind it brings */
        return s->state == SESSION_OPEN && r >= 0;
}

/* A packet that is too long is not received, because what it brings would have to be closed. */
static bool may_receive_descriptors(struct session *s) {
        bool something;
        int r = message_peek(s->fd, &something);

        if (r <= MESSAGE_SIZE_MAX)
                return true;
        log_breach(s, breach_text(-EMSGSIZE));
        s->state = SESSION_ENDING;
        return false;
}

/* What no handler took is somebody else's to close. */
static void clear_message(struct control *c) {
        struct fd_list *fds = &c->message.fds;

        if (fds->count > 0)
                disposal_put_fds(c, fds->fds, fds->count);
        fd_list_init(fds);
        message_clear(&c->message);
}

static void handle_packet(struct session *s, const char *data, size_t size, size_t n_fds) {
        int r = verbs_dispatch(s, data, size, n_fds);

        if (r < 0) {
                log_breach(s, breach_text(r));
                s->state = SESSION_ENDING;
        }
}

static void read_packet(struct session *s) {
        struct message *m = &s->control->message;
        int r;

        if (s->takes_descriptors ? !may_receive_descriptors(s)
                                 : !s->refuses_descriptors && !may_receive(s))
                return;
        r = message_receive_foreign(s->fd, m);
        if (r > 0) {
                handle_packet(s, m->data, m->size, m->fds.count);
        } else if (r != -EAGAIN) {
                if (r == -EMSGSIZE || r == -EMFILE)
                        log_breach(s, breach_text(r));
                s->state = SESSION_ENDING;
        }
        clear_message(s->control);
}

void session_pause(struct session *s) {
        s->is_paused = true;
        s->watched_events = 0;
        io_watch_stop(&s->watch);
}

void session_resume(struct session *s) {
        if (!s->is_paused)
                return;
        s->is_paused = false;
        if (s->state == SESSION_OPEN && s->watched_events == 0) {
                s->watched_events = IO_READ;
                io_watch_start(&s->watch, s->control->broker->loop, s->fd, IO_READ, on_socket, s);
        }
}

static void on_socket(void *owner, int events) {
        struct session *s = owner;

        if (events & IO_WRITE)
                outgoing_flush(s);
        else if (s->job_wait)
                operate_on_readable(s);
        else if (offer_may_read(s))
                read_packet(s);
        if (s->state == SESSION_ENDING)
                session_end(s);
}

void session_feed(struct session *s, const char *data, size_t size) {
        handle_packet(s, data, size, 0);
        if (s->state == SESSION_ENDING)
                session_end(s);
}
