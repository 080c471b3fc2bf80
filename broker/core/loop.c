/*
 * The only file that calls libev. What it adds: a loop of our own (never the default one, which
 * owns SIGCHLD), timers in microseconds, and a loop that really sleeps when it has nothing to do.
 */
#include "core/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "core/clock.h"

#define LATE_USEC (100 * 1000)

/* A killed child that has not been collected yet. */
struct child {
        int pidfd;
        struct io_watch watch;
        LIST_ENTRY(child) entry;
};

struct loop {
        struct ev_loop *ev;
        int epoll_fd; /* libev's own, see forget_fd() */
        ev_periodic far_off;
        bool stopped;
        LIST_HEAD(, child) children;
};

static void on_far_off(struct ev_loop *ev, ev_periodic *p, int events) {
}

/* The number that the next descriptor gets: the loop has one thread. -1 where there is none. */
static int next_fd(void) {
        int fd = epoll_create1(EPOLL_CLOEXEC);

        close_fd(fd);
        return fd;
}

int loop_new(struct loop **ret) {
        struct loop *loop = calloc(1, sizeof(*loop));

        if (!loop)
                return -ENOMEM;
        /* It makes its epoll set before all else, and tells nobody which it is. */
        loop->epoll_fd = next_fd();
        /* EVFLAG_NOENV: LIBEV_FLAGS in the environment must not choose a back end for us. */
        loop->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
        if (!loop->ev) {
                free(loop);
                return -ENOSYS;
        }
        /*
         * libev wakes at least once a minute, unless it has a timerfd to tell it of clock jumps,
         * and it makes that timerfd for the first periodic watcher. So one that is never due.
         */
        ev_periodic_init(&loop->far_off, on_far_off, 1e15, 0., NULL);
        ev_periodic_start(loop->ev, &loop->far_off);
        ev_unref(loop->ev);
        *ret = loop;
        return 0;
}

static void child_free(struct child *child) {
        siginfo_t info;

        io_watch_stop(&child->watch);
        (void) waitid(P_PIDFD, (id_t) child->pidfd, &info, WEXITED | WNOHANG);
        close_fd(child->pidfd);
        LIST_REMOVE(child, entry);
        free(child);
}

static void on_child(void *owner, int events) {
        child_free(owner);
}

void loop_put_child(struct loop *loop, int pidfd) {
        struct child *child = calloc(1, sizeof(*child));

        if (!child) {
                close_fd(pidfd);
                return;
        }
        child->pidfd = pidfd;
        LIST_INSERT_HEAD(&loop->children, child, entry);
        io_watch_start(&child->watch, loop, pidfd, IO_READ, on_child, child);
}

struct loop *loop_free(struct loop *loop) {
        if (loop) {
                while (!LIST_EMPTY(&loop->children))
                        child_free(LIST_FIRST(&loop->children));
                ev_ref(loop->ev);
                ev_periodic_stop(loop->ev, &loop->far_off);
                ev_loop_destroy(loop->ev);
                free(loop);
        }
        return NULL;
}

void loop_run(struct loop *loop) {
        if (!loop->stopped)
                (void) ev_run(loop->ev, 0);
}

void loop_run_once(struct loop *loop, bool wait) {
        (void) ev_run(loop->ev, wait ? EVRUN_ONCE : EVRUN_NOWAIT);
}

void loop_stop(struct loop *loop) {
        loop->stopped = true;
        ev_break(loop->ev, EVBREAK_ALL);
}

bool loop_is_stopped(const struct loop *loop) {
        return loop->stopped;
}

void loop_break(struct loop *loop) {
        ev_break(loop->ev, EVBREAK_ALL);
}

uint64_t loop_now_usec(void) {
        /* Not ev_now(): that is the wall clock, which steps. A vdso call, no system call. */
        return clock_monotonic_usec();
}

uint64_t loop_in_usec(uint64_t usec) {
        uint64_t now = loop_now_usec();

        return usec < UINT64_MAX - now ? now + usec : UINT64_MAX;
}

static void on_io(struct ev_loop *ev, ev_io *io, int events) {
        struct io_watch *w = io->data;

        w->handler(w->owner, events & (EV_READ | EV_WRITE));
}

/*
 * libev leaves a descriptor in its set and expects that it is closed, which takes it out. It does
 * not when another process has a duplicate: the keeper, or a child before its exec. Then epoll goes
 * on reporting it, and libev makes a new set and adds all that there are, which cost a restart of
 * one among a thousand components more than all else. Taken out twice, or of a set that libev has
 * changed meanwhile, does no harm: it adds what it does not find.
 */
static void forget_fd(const struct loop *loop, int fd) {
        int error = errno;

        (void) epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        errno = error;
}

void io_watch_start(struct io_watch *w, struct loop *loop, int fd, int events,
                    void (*handler)(void *owner, int events), void *owner) {
        if (io_watch_is_started(w) && w->io.fd == fd)
                ev_io_stop(w->loop->ev, &w->io);
        io_watch_stop(w);
        w->loop = loop;
        w->handler = handler;
        w->owner = owner;
        ev_io_init(&w->io, on_io, fd, events);
        w->io.data = w;
        ev_io_start(loop->ev, &w->io);
}

void io_watch_stop(struct io_watch *w) {
        if (!io_watch_is_started(w))
                return;
        ev_io_stop(w->loop->ev, &w->io);
        forget_fd(w->loop, w->io.fd);
}

bool io_watch_is_started(const struct io_watch *w) {
        return w->loop && ev_is_active(&w->io);
}

/*
 * A broker that was not scheduled for a while, or was stopped, finds both: deadlines that passed,
 * and the word in time that they were for. What has come is heard before its sender is held to have
 * been silent: in a turn descriptors come first, and who is very late waits for one more, because
 * of an epoll_wait(2) that a stop has interrupted no descriptor is told. A deadline waits for more
 * than that: see deadline_start().
 */
static void on_timer(struct ev_loop *ev, ev_timer *timer, int events) {
        struct timer *t = timer->data;
        bool is_late = t->due_usec > 0 && loop_now_usec() > t->due_usec + LATE_USEC;

        if (is_late) {
                t->due_usec = 0; /* once */
                ev_now_update(ev);
                ev_timer_set(timer, (double) t->grace_usec / 1e6, 0.);
                ev_timer_start(ev, timer);
                return;
        }
        t->handler(t->owner);
}

static void start(struct timer *t, struct loop *loop, uint64_t usec, void (*handler)(void *owner),
                  void *owner) {
        timer_stop(t);
        t->loop = loop;
        t->handler = handler;
        t->owner = owner;
        /* libev counts from the start of this turn, which may lie well back after long work. */
        ev_now_update(loop->ev);
        ev_timer_init(&t->timer, on_timer, (double) usec / 1e6, 0.);
        /* Among equals libev tells timers first. */
        ev_set_priority(&t->timer, EV_MINPRI);
        t->timer.data = t;
        ev_timer_start(loop->ev, &t->timer);
}

void timer_start(struct timer *t, struct loop *loop, uint64_t usec, void (*handler)(void *owner),
                 void *owner) {
        t->due_usec = usec > 0 ? loop_in_usec(usec) : 0; /* the next turn is never late */
        t->grace_usec = 0;
        start(t, loop, usec, handler, owner);
}

void deadline_start_at(struct timer *t, struct loop *loop, uint64_t due_usec,
                       void (*handler)(void *owner), void *owner) {
        uint64_t now = loop_now_usec();

        t->due_usec = due_usec;
        t->grace_usec = DEADLINE_GRACE_USEC;
        start(t, loop, due_usec > now ? due_usec - now : 0, handler, owner);
}

void deadline_start(struct timer *t, struct loop *loop, uint64_t usec, void (*handler)(void *owner),
                    void *owner) {
        deadline_start_at(t, loop, loop_in_usec(usec), handler, owner);
}

void timer_stop(struct timer *t) {
        /* One that is due is not active any more, and is yet to be told in this very turn. */
        if (timer_is_started(t) || (t->loop && ev_is_pending(&t->timer)))
                ev_timer_stop(t->loop->ev, &t->timer);
}

bool timer_is_started(const struct timer *t) {
        return t->loop && ev_is_active(&t->timer);
}
