/*
 * Who keeps what the memory has: a new keeper for one that died, one from outside in its place, and
 * what is said to it. See memory.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/log.h"
#include "core/process.h"
#include "keeper/charge.h"
#include "keeper/memory_private.h"

#define KEEPER_RETRY_USEC 200000
/* Less than the keeper before goes on without a link. */
#define CHANGE_USEC 3000000

/* ---- a new keeper -----------------------------------------------------------------------------*/

/* How many. */
static size_t push_everything(struct memory *m) {
        size_t n = 0;

        if (state_peek_fd(m->state) >= 0)
                (void) fd_store_push(m->store, STATE_ID, state_peek_fd(m->state), true);
        for (const char *id = state_first(m->state); id; id = state_next(m->state, id)) {
                int fd = state_note(m->state, id)->fd;
                int r = fd < 0 ? 0 : fd_store_push(m->store, id, fd, true);
                if (r < 0)
                        log_error(m->log, NULL, "descriptor %s cannot be stored: %s", id,
                                  strerror(-r));
                n += fd >= 0;
        }
        fd_store_refilled(m->store);
        if (m->ready)
                (void) fd_store_say(m->store, FD_STORE_READY);
        if (m->ending)
                (void) fd_store_say(m->store, FD_STORE_ENDING);
        return n;
}

/* At its stop too it could be two that start a broker. SIGKILL, because it may be stopped. */
static void end_leaving(struct memory *m) {
        if (m->leaving_fd >= 0)
                (void) pidfd_send_signal(m->leaving_fd, SIGKILL, NULL, 0);
        m->leaving_fd = close_fd(m->leaving_fd);
}

/* Said when it has them: much of it may wait behind a queue that is full. */
static void on_refilled(void *owner) {
        const struct memory *m = owner;

        log_notice(m->log, NULL, "a new keeper has %zu descriptors", m->n_refilled);
}

static void replace_keeper(void *owner) {
        struct memory *m = owner;
        int link_fd;

        fd_store_cancel_barriers(m->store, m);
        end_leaving(m);
        m->made_fd = close_fd(m->made_fd);
        link_fd = m->new_keeper ? m->new_keeper(m->owner, &m->made_fd) : -ENOTCONN;
        m->lost_usec = loop_now_usec();
        if (link_fd < 0) {
                timer_start(&m->retry, m->loop, KEEPER_RETRY_USEC, replace_keeper, m);
                return;
        }
        fd_store_reconnect(m->store, link_fd);
        m->n_refilled = push_everything(m);
        (void) fd_store_barrier(m->store, on_refilled, m); /* -EBUSY: then without a line */
}

/* At once; but one that dies as soon as it is started must not keep the loop from serving. */
void memory_lost_keeper(void *owner) {
        struct memory *m = owner;

        if (m->lost_usec == 0 || loop_now_usec() - m->lost_usec > KEEPER_RETRY_USEC)
                replace_keeper(m);
        else
                timer_start(&m->retry, m->loop, KEEPER_RETRY_USEC, replace_keeper, m);
}

void memory_set_keeper(struct memory *m, int (*new_keeper)(void *owner, int *ret_pidfd),
                       void *owner) {
        m->new_keeper = new_keeper;
        m->owner = owner;
}

/* ---- a keeper from outside --------------------------------------------------------------------*/

static void on_is_sole(void *owner) {
        end_leaving(owner);
}

/*
 * Whenever we are killed in here, one of them starts the next broker: until SOLE is read the one
 * that leaves, until that has ended whoever draws the CHARGE, and then the new one. One that could
 * not be told of a CHARGE is ended first, or there could be two brokers.
 */
static void on_has_everything(void *owner) {
        struct memory *m = owner;

        timer_stop(&m->retry);
        if (!m->is_shared)
                end_leaving(m);
        (void) fd_store_say(m->store, FD_STORE_SOLE);
        if (m->leaving_fd >= 0 && fd_store_barrier(m->store, on_is_sole, m) < 0)
                end_leaving(m);
}

/* The one before has no link any more, and would end before long. */
static void on_takes_nothing(void *owner) {
        struct memory *m = owner;

        log_warning(m->log, NULL,
                    "the keeper that was started beside us has not taken what it is to keep within "
                    "%d s; is it stopped?",
                    CHANGE_USEC / 1000000);
        replace_keeper(m);
}

int memory_change_keeper(struct memory *m, int link_fd) {
        _cleanup_close_ int self = -1, executable = -1, charge = -1;

        if (fd_store_kind(m->store) != FD_STORE_KEEPER)
                return -EOPNOTSUPP;
        /* While one leaves, too: the one that was to take its place may have died of it. */
        if (m->made_fd < 0 && !fd_store_is_lost(m->store))
                return -EBUSY;
        self = process_open(getpid());
        if (self < 0)
                return self;
        executable = open("/proc/self/exe", O_PATH | O_CLOEXEC);
        if (executable < 0)
                return -errno;
        timer_stop(&m->retry);
        fd_store_cancel_barriers(m->store, m); /* of one that died before it had everything */
        /* Without a link it stays in charge until it is ended: see is_superfluous() there. */
        if (!fd_store_is_lost(m->store)) {
                m->leaving_fd = take_fd(&m->made_fd);
                charge = charge_share(m->store);
        }
        m->made_fd = close_fd(m->made_fd);
        fd_store_reconnect(m->store, link_fd);
        (void) fd_store_say_broker(m->store, self);
        m->is_shared = charge >= 0 && fd_store_say_charge(m->store, charge) == 0;
        (void) fd_store_say_executable(m->store, executable);
        /* With nobody else in charge it is, from the first descriptor on. */
        if (m->leaving_fd < 0)
                (void) fd_store_say(m->store, FD_STORE_SOLE);
        (void) push_everything(m);
        if (m->leaving_fd < 0)
                return 0;
        deadline_start(&m->retry, m->loop, CHANGE_USEC, on_takes_nothing, m);
        if (fd_store_barrier(m->store, on_has_everything, m) < 0)
                on_has_everything(m); /* it is all on the way */
        return 0;
}

/* One from outside made both ends, as does one that starts a broker. */
bool memory_is_kept_by(const struct memory *m, pid_t pid) {
        struct ucred peer = {0};
        socklen_t size = sizeof(peer);

        return getsockopt(memory_peek_link(m), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
               peer.pid == pid;
}

/* ---- what is said to it -----------------------------------------------------------------------*/

void memory_say_ready(struct memory *m) {
        m->ready = true;
        (void) fd_store_say(m->store, FD_STORE_READY);
}

void memory_say_ending(struct memory *m) {
        m->ending = true;
        (void) fd_store_say(m->store, FD_STORE_ENDING);
}

void memory_say_stopping(struct memory *m) {
        end_leaving(m); /* which would not hear of it, and start another broker */
        (void) fd_store_say(m->store, FD_STORE_STOPPING);
}

void memory_say_executable(struct memory *m, int fd) {
        (void) fd_store_say_executable(m->store, fd);
}

void memory_say_executing(struct memory *m) {
        /* All is sent, and after the exec nobody would know that the one before is to go. */
        if (m->leaving_fd >= 0)
                on_has_everything(m);
        end_leaving(m);
        (void) fd_store_say(m->store, FD_STORE_EXECUTING);
}

void memory_say_exec(struct memory *m) {
        (void) fd_store_say(m->store, FD_STORE_EXEC);
}
