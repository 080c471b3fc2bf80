/* The first connection starts a component that waits for it. */
#include "components/trigger.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "cleanup.h"
#include "components/component_table.h"
#include "components/operation.h"
#include "sockets/listener_table.h"

#define TRIGGER_RETRY_USEC (1000 * 1000)

struct trigger {
        struct component *component;
        struct timer pause;
        /*
         * The sockets, however many, in an epoll set of their own, because a listener's descriptor
         * belongs to the set of the guards in the loop's. One that is closed stays in it as long as
         * the keeper has it: trigger_renew().
         */
        int set; /* owned; -1: nothing is watched */
        struct io_watch watch;
};

static void stop_watching(struct trigger *t) {
        timer_stop(&t->pause);
        io_watch_stop(&t->watch);
        t->set = close_fd(t->set);
}

void trigger_stop(struct component *c) {
        if (c->trigger) {
                stop_watching(c->trigger);
                free(c->trigger);
                c->trigger = NULL;
        }
}

static void on_pause_over(void *owner) {
        struct trigger *t = owner;

        stop_watching(t);
        trigger_update(t->component);
}

static void on_connection(void *owner, int events) {
        struct trigger *t = owner;
        struct component *c = t->component;

        (void) events;
        stop_watching(t);
        if (restart_policy_may_trigger(&c->policy, c->config, loop_now_usec())) {
                if (operation_request(c, JOB_START, NULL) < 0)
                        timer_start(&t->pause, c->table->loop, TRIGGER_RETRY_USEC, on_pause_over,
                                    t);
                else
                        log_info(c->table->log, ABOUT(.component = c->name),
                                 "%s is started: a connection waits", c->name);
                return;
        }
        log_warning(
                c->table->log, ABOUT(.component = c->name),
                "%s was started too often by connections (TriggerLimitBurst=): it is left alone "
                "for TriggerLimitIntervalSec=; its listeners are held",
                c->name);
        timer_start(&t->pause, c->table->loop, c->config->trigger_limit_interval_usec,
                    on_pause_over, t);
}

static bool add_sockets(int set, const struct listener *l) {
        struct epoll_event event = {.events = EPOLLIN};
        bool all = true;

        for (size_t m = 0; m < l->n_sockets; m++)
                if (l->fds[m] < 0 || epoll_ctl(set, EPOLL_CTL_ADD, l->fds[m], &event) < 0)
                        all = false;
        return all && l->n_sockets > 0;
}

/* False when some could not be watched: a connection to them would wait for ever. */
static bool start_watching(struct trigger *t) {
        const struct component *c = t->component;
        bool all = true;

        t->set = epoll_create1(EPOLL_CLOEXEC);
        if (t->set < 0)
                return false;
        for (size_t k = 0; k < c->config->n_sockets; k++) {
                const struct listener *l =
                        listener_table_find(c->table->listeners, c->config->sockets[k]);

                if (!l || !add_sockets(t->set, l))
                        all = false;
        }
        io_watch_start(&t->watch, c->table->loop, t->set, IO_READ, on_connection, t);
        return all;
}

void trigger_renew(struct component *c) {
        if (!c->trigger || c->trigger->set < 0)
                return;
        stop_watching(c->trigger);
        component_touch(c);
}

static bool is_waiting(const struct component *c) {
        return !c->removed && !c->table->stopping && TAILQ_EMPTY(&c->instances) &&
               component_state(c) == COMPONENT_WAITING;
}

void trigger_update(struct component *c) {
        struct trigger *t = c->trigger;

        if (!is_waiting(c)) {
                trigger_stop(c);
                return;
        }
        if (t && (t->set >= 0 || timer_is_started(&t->pause)))
                return;
        if (!t) {
                t = calloc(1, sizeof(*t));
                if (!t)
                        return;
                t->component = c;
                t->set = -1;
                c->trigger = t;
        }
        if (c->config->n_sockets > 0 && !start_watching(t))
                timer_start(&t->pause, c->table->loop, TRIGGER_RETRY_USEC, on_pause_over, t);
}
