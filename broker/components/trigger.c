/* The first connection starts a component that waits for it. */
#include "components/trigger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "cleanup.h"
#include "components/component_table.h"
#include "components/operation.h"
#include "sockets/listener_table.h"

#define TRIGGER_SOCKETS_MAX 64
#define TRIGGER_RETRY_USEC (1000 * 1000)

struct trigger {
        struct component *component;
        struct timer pause;
        size_t count;
        /* Duplicates, because a listener's own descriptor belongs to the set of the guards. They
         * would keep a socket open that is closed or replaced: trigger_renew(). */
        int fds[TRIGGER_SOCKETS_MAX];
        struct io_watch watches[TRIGGER_SOCKETS_MAX];
};

static void stop_watching(struct trigger *t) {
        timer_stop(&t->pause);
        for (size_t k = 0; k < t->count; k++) {
                io_watch_stop(&t->watches[k]);
                t->fds[k] = close_fd(t->fds[k]);
        }
        t->count = 0;
}

void trigger_stop(struct component *c) {
        if (c->trigger) {
                stop_watching(c->trigger);
                free(c->trigger);
                c->trigger = NULL;
        }
}

static void on_pause_over(void *owner) {
        const struct trigger *t = owner;

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

static void watch_listener(struct trigger *t, const struct listener *l) {
        for (size_t m = 0; m < l->n_sockets && t->count < TRIGGER_SOCKETS_MAX; m++) {
                int fd = fcntl(l->fds[m], F_DUPFD_CLOEXEC, 0);

                if (fd < 0)
                        continue;
                t->fds[t->count] = fd;
                io_watch_start(&t->watches[t->count], t->component->table->loop, fd, IO_READ,
                               on_connection, t);
                t->count++;
        }
}

void trigger_renew(struct component *c) {
        if (!c->trigger || c->trigger->count == 0)
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
        if (t && (t->count > 0 || timer_is_started(&t->pause)))
                return;
        if (!t)
                t = calloc(1, sizeof(*t));
        if (!t)
                return;
        t->component = c;
        c->trigger = t;
        for (size_t k = 0; k < c->config->n_sockets; k++) {
                const struct listener *l =
                        listener_table_find(c->table->listeners, c->config->sockets[k]);

                if (l)
                        watch_listener(t, l);
        }
        if (t->count == 0 && c->config->n_sockets > 0)
                timer_start(&t->pause, c->table->loop, TRIGGER_RETRY_USEC, on_pause_over, t);
}
