/*
 * The event loop: a thin cover over libev, which no other folder may know.
 *
 * Watches are embedded in the objects that own them and are inactive when zeroed. A watch must be
 * stopped before its descriptor is closed, always: we lend duplicates of what we watch, the open
 * file description outlives our descriptor, and epoll would go on reporting it.
 *
 * A handler may stop and free its own object; the loop does not touch a watch after its handler was
 * called.
 *
 * Descriptors come before timers: who is waited for until a deadline is heard first, also when we
 * are late. What is not told by one descriptor alone is waited for with deadline_start().
 */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;

int loop_new(struct loop **ret);           /* 0, -ENOMEM or -ENOSYS; never the default loop */
struct loop *loop_free(struct loop *loop); /* NULL allowed; returns NULL */
void loop_run(struct loop *loop);          /* until loop_stop() or loop_break() */
void loop_run_once(struct loop *loop, bool wait); /* one turn, for tests and for draining */
/* For good: whoever runs the loop again, because he did not notice, comes back at once. */
void loop_stop(struct loop *loop);
bool loop_is_stopped(const struct loop *loop);
void loop_break(struct loop *loop); /* loop_run() returns, and may be called again */
uint64_t loop_now_usec(void);       /* CLOCK_MONOTONIC */
/* So far from now: UINT64_MAX, which never comes, when that lies beyond. */
uint64_t loop_in_usec(uint64_t usec);

enum { IO_READ = EV_READ, IO_WRITE = EV_WRITE };

struct io_watch {
        ev_io io;
        struct loop *loop;
        void (*handler)(void *owner, int events);
        void *owner;
};

/*
 * Starts, or changes what is waited for when it is started already on the same fd. One watch a
 * descriptor: who waits for the same as another has a duplicate of his own. It is to be stopped
 * before its descriptor is closed.
 */
void io_watch_start(struct io_watch *w, struct loop *loop, int fd, int events,
                    void (*handler)(void *owner, int events), void *owner);
void io_watch_stop(struct io_watch *w); /* nothing when it is not started */
bool io_watch_is_started(const struct io_watch *w);

/*
 * Collect a child that was killed and is not waited for: it may hang in the very system call that
 * it was made for. Takes pidfd. When there is no memory the zombie stays until we end.
 */
void loop_put_child(struct loop *loop, int pidfd);

#define DEADLINE_GRACE_USEC (500 * 1000)

struct timer {
        ev_timer timer;
        struct loop *loop;
        uint64_t due_usec, grace_usec;
        void (*handler)(void *owner);
        void *owner;
};

/* Once, after `usec`. Starting a started timer sets it anew. A loop without timers never wakes. */
void timer_start(struct timer *t, struct loop *loop, uint64_t usec, void (*handler)(void *owner),
                 void *owner);
/*
 * Likewise, until patience with somebody is over. He may have done in time what takes us turns, a
 * child or another answer to hear of: when we were held up past the deadline, he has
 * DEADLINE_GRACE_USEC from the moment in which we go on.
 */
void deadline_start(struct timer *t, struct loop *loop, uint64_t usec, void (*handler)(void *owner),
                    void *owner);
/* As loop_now_usec() counts, and possibly past. */
void deadline_start_at(struct timer *t, struct loop *loop, uint64_t due_usec,
                       void (*handler)(void *owner), void *owner);
void timer_stop(struct timer *t);
bool timer_is_started(const struct timer *t);

#endif
