/*
 * When is an instance ready, and does it still serve?
 *
 * Ready is READY=1 (Type=notify), the exec (exec), the fork (simple), and where HealthCheck= is
 * set, a probe that this very instance answered. Where it is not set, the instance has to be seen
 * to wait for connections, or after a little while to accept one of ours (instance_accept.c). Its
 * own word is enough with HealthCheck=no and where nobody can tell.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "components/instance_private.h"
#include "components/listener_inodes.h"
#include "core/worker.h"
#include "sockets/listener_table.h"

#define PROBE_FIRST_USEC (10 * 1000)
#define PROBE_MAX_USEC (1000 * 1000)
#define BURST_USEC (5 * 1000) /* it serves, and so does the one before: from burst to burst */
/* Evidence comes within milliseconds of the readiness of a program that notifies; one that does not
 * has all its start-up before it. */
#define EVIDENCE_NOTIFY_USEC (500 * 1000)
#define EVIDENCE_EXEC_USEC (5 * 1000 * 1000)
/* Answered so often in a row by an older generation, while this one was seen to wait, too. */
#define ELSEWHERE_MAX 100

static void schedule(struct instance *i, uint64_t usec);

/* ---- ready ------------------------------------------------------------------------------------*/

static void is_ready(struct instance *i) {
        timer_stop(&i->probe);
        i->search = worker_stop(i->search);
        instance_accept_stop(i);
        instance_event(i, instance_after_start(i));
}

static void is_ready_by_own_word(struct instance *i) {
        i->by_own_word = true;
        is_ready(i);
}

static bool has_health(const struct instance *i) {
        return i->config->health.kind > HEALTH_NO;
}

/* It was looked at for long enough; half of the start is for the connections that ask it. */
static bool was_looked_at(const struct instance *i) {
        uint64_t usec =
                i->config->type == COMPONENT_NOTIFY ? EVIDENCE_NOTIFY_USEC : EVIDENCE_EXEC_USEC;

        if (usec > i->config->timeout_start_usec / 2)
                usec = i->config->timeout_start_usec / 2;
        return loop_now_usec() - i->said_ready_usec >= usec;
}

/* It starts, and is not to be kept from that: an eighth of the time that it has taken so far, so
 * that little is lost when it is ready meanwhile. */
static uint64_t pause_usec(const struct instance *i) {
        uint64_t usec = (loop_now_usec() - i->started_usec) / 8;

        if (usec < PROBE_FIRST_USEC)
                return PROBE_FIRST_USEC;
        return usec < PROBE_MAX_USEC ? usec : PROBE_MAX_USEC;
}

static bool waits_for_connections(const struct instance *i) {
        return i->evidence >= EVIDENCE_WATCHES;
}

/* What was answered elsewhere before it waited for connections says nothing: it could not have had
 * any of them. */
static void note_evidence(struct instance *i, enum evidence best) {
        bool waited = waits_for_connections(i);

        if (best > i->evidence)
                i->evidence = best;
        if (!waited && waits_for_connections(i))
                i->elsewhere = 0;
}

/* `ask` as evidence_read() says it. */
static void judge(struct instance *i, enum evidence best, bool ask) {
        note_evidence(i, best);
        if (i->life != LIFE_STARTING)
                return;
        if (has_health(i)) {
                if (i->elsewhere >= ELSEWHERE_MAX && waits_for_connections(i))
                        is_ready(i);
                else
                        schedule(i, PROBE_FIRST_USEC);
        } else if (waits_for_connections(i)) {
                is_ready(i);
        } else if ((ask || was_looked_at(i)) && instance_accept_start(i) == -ENOENT) {
                is_ready_by_own_word(i); /* datagrams, or connections that wait for data */
        } else {
                schedule(i, pause_usec(i));
        }
}

static void on_evidence(void *owner, const char *result, size_t size) {
        struct instance *i = owner;
        bool ask;
        enum evidence best = evidence_read(result, size, &ask);

        i->search = NULL;
        judge(i, best, ask);
}

static void search(struct instance *i) {
        struct listener_inodes inodes;

        if (i->search)
                return;
        i->probes++;
        listener_inodes_get(i->component, &inodes);
        if (inodes.count == 0)
                is_ready_by_own_word(i);
        else if (evidence_search_start(&i->search, &instance_table(i)->workers, &i->tree, &inodes,
                                       i->accepting && !i->was_given_stored, on_evidence, i) < 0)
                judge(i, EVIDENCE_NONE, false); /* no process or descriptor to be had now */
}

void instance_accepts(struct instance *i, const char *text) {
        (void) snprintf(i->health_text, sizeof(i->health_text), "%s", text);
        i->evidence = EVIDENCE_SERVED;
        is_ready(i);
}

void instance_accepts_untold(struct instance *i) {
        is_ready_by_own_word(i);
}

static void stop_probes(struct instance *i) {
        for (unsigned k = 0; k < INSTANCE_PROBES_MAX; k++)
                health_stop(&i->health[k]);
        i->n_probing = 0;
}

/* ---- health -----------------------------------------------------------------------------------*/

/* Again and again while it lasts: what was asked for may have been refused, or the next generation
 * was no better. Restart= says whether it is asked for; for a stall StallAction= does. */
static void is_sick(struct instance *i) {
        if (i->is_healthy)
                log_warning(instance_table(i)->log, INSTANCE_ABOUT(i),
                            "%s: generation %llu is not healthy: %s", i->component->name,
                            (unsigned long long) i->generation, i->health_text);
        i->is_healthy = false;
        if (i->config->restart & RESTART_ON_WATCHDOG)
                component_instance_sick(i->component, i);
}

static void probe_failed(struct instance *i) {
        i->failed_probes++;
        if (i->failed_probes % i->config->health.failures == 0)
                is_sick(i);
}

static void became_healthy(struct instance *i) {
        i->failed_probes = 0;
        if (i->is_healthy)
                return;
        i->is_healthy = true;
        i->is_left_sick = false;
        log_notice(instance_table(i)->log, INSTANCE_ABOUT(i),
                   "%s: generation %llu is healthy again", i->component->name,
                   (unsigned long long) i->generation);
}

/* Or by nobody knows whom. */
static bool by_others(enum health_result result) {
        return result == HEALTH_ELSEWHERE || result == HEALTH_UNTOLD;
}

/* All of a burst are back, and none was served by this instance. */
static void burst_failed(struct instance *i) {
        if (i->burst_result != HEALTH_ELSEWHERE) {
                i->burst = 1;
                schedule(i, pause_usec(i));
                return;
        }
        i->burst = INSTANCE_PROBES_MAX;
        if (i->elsewhere >= ELSEWHERE_MAX)
                search(i);
        else
                schedule(i, BURST_USEC);
}

static void probed_while_starting(struct instance *i, enum health_result result) {
        i->probes++;
        if (result == HEALTH_GOOD) {
                stop_probes(i);
                i->evidence = EVIDENCE_SERVED;
                is_ready(i);
                return;
        }
        if (by_others(result)) {
                i->elsewhere++;
        } else {
                i->burst_result = result;
                i->elsewhere = 0; /* it was this one, and it does not serve */
        }
        if (i->n_probing == 0)
                burst_failed(i);
}

static void on_probed(void *owner, enum health_result result, const char *text) {
        struct instance *i = owner;

        i->n_probing--;
        i->has_answered |= !by_others(result);
        if (!i->has_answered || !by_others(result))
                (void) snprintf(i->health_text, sizeof(i->health_text), "%s", text);
        if (i->life == LIFE_STARTING) {
                probed_while_starting(i, result);
                return;
        }
        if (result == HEALTH_GOOD)
                became_healthy(i);
        else if (!by_others(result))
                probe_failed(i);
        schedule(i, i->config->health.interval_usec);
}

/* The first socket of the listener that is to be probed. */
static const struct listener_socket *probed_socket(const struct instance *i) {
        const char *name = i->config->health.socket;
        const struct listener *l;

        if (!name && i->config->n_sockets > 0)
                name = i->config->sockets[0];
        l = name ? listener_table_find(instance_table(i)->listeners, name) : NULL;
        return l && l->n_sockets > 0 ? l->sockets[0] : NULL;
}

static void probe(struct instance *i) {
        const struct listener_socket *s = probed_socket(i);
        struct health_target target = {.config = &i->config->health,
                                       .component = i->config,
                                       .cgroups = &instance_table(i)->cgroups};
        struct component_table *t = instance_table(i);
        unsigned n = i->life == LIFE_STARTING && i->burst > 1 ? i->burst : 1;

        if (i->n_probing > 0)
                return;
        if (s) {
                target.address_size = sizeof(target.address);
                if (getsockname(s->fd, (struct sockaddr *) &target.address, &target.address_size) <
                    0)
                        target.address_size = 0;
        }
        if (i->config->health.kind != HEALTH_EXEC)
                target.tree = &i->tree;
        i->burst_result = HEALTH_ELSEWHERE;
        for (unsigned k = 0; k < n; k++)
                if (health_start(&i->health[k], t->loop, t->log, &target, on_probed, i) == 0)
                        i->n_probing++;
        if (i->n_probing == 0)
                schedule(i, PROBE_MAX_USEC);
}

static void on_probe_timer(void *owner) {
        struct instance *i = owner;

        if (has_health(i))
                probe(i);
        else if (i->life == LIFE_STARTING)
                search(i);
}

static void schedule(struct instance *i, uint64_t usec) {
        if (usec > 0)
                timer_start(&i->probe, instance_table(i)->loop, usec, on_probe_timer, i);
}

/* Who says that it is ready waits for connections in a moment, and that is what a search is made
 * for; until it is seen, two generations share the processor. */
static void schedule_first(struct instance *i) {
        bool is_to_be_seen = i->config->type == COMPONENT_NOTIFY && !has_health(i);

        timer_start(&i->probe, instance_table(i)->loop, is_to_be_seen ? 0 : PROBE_FIRST_USEC / 2,
                    on_probe_timer, i);
}

void instance_watch_start(struct instance *i) {
        if (i->life == LIFE_READY) {
                if (has_health(i))
                        schedule(i, i->config->health.interval_usec);
                return;
        }
        if (i->said_ready_usec > 0)
                return;
        i->said_ready_usec = loop_now_usec();
        instance_keep(i); /* it says so only once */
        i->by_own_word = i->config->health.kind == HEALTH_NO;
        if (has_health(i) || (i->config->n_sockets > 0 && !i->by_own_word))
                schedule_first(i);
        else
                instance_defer(i, instance_after_start(i));
}

void instance_watch_stop(struct instance *i) {
        instance_drain_stop(i);
        timer_stop(&i->watchdog);
        stop_probes(i);
        instance_accept_stop(i);
        i->search = worker_stop(i->search);
}

void instance_executed(struct instance *i) {
        if (i->life == LIFE_STARTING && i->config->type == COMPONENT_EXEC)
                instance_watch_start(i);
}

/* ---- watchdog ---------------------------------------------------------------------------------*/

static void on_watchdog(void *owner) {
        struct instance *i = owner;

        if (!instance_is_overdue(i, &i->watchdog))
                return;
        instance_fail(i, END_BY_WATCHDOG, "no WATCHDOG=1 for %llu ms (WatchdogSec=)",
                      (unsigned long long) (i->watchdog_usec / 1000));
}

void instance_feed_watchdog(struct instance *i) {
        if (i->watchdog_usec == 0)
                i->watchdog_usec = i->config->watchdog_usec;
        if (i->watchdog_usec > 0 && i->life == LIFE_READY)
                deadline_start(&i->watchdog, instance_table(i)->loop, i->watchdog_usec, on_watchdog,
                               i);
}

/* ---- what it says of itself -------------------------------------------------------------------*/

static void handle_main_pid(struct instance *i, pid_t pid) {
        int r = process_tree_set_main(&i->tree, pid);
        unsigned suppressed;

        if (r == 0)
                instance_keep(i);
        else if (rate_limit_pass(&i->notify.refusals, loop_now_usec(), &suppressed))
                log_warning(instance_table(i)->log, INSTANCE_ABOUT(i),
                            "%s: MAINPID=%d is refused: %s (%u refusals since the last such line)",
                            i->component->name, (int) pid,
                            r == -EPERM ? "it is none of its processes" : strerror(-r), suppressed);
}

/* For people: shown while it runs, and when it has ended. */
static void handle_words(struct instance *i, const struct notify_packet *p) {
        bool status = (p->flags & NOTIFY_HAS_STATUS) && strcmp(i->status, p->status) != 0,
             error = p->error > 0 && i->notify_error != p->error,
             exit_status =
                     (p->flags & NOTIFY_HAS_EXIT_STATUS) && i->said_exit_status != p->exit_status;

        if (status)
                (void) snprintf(i->status, sizeof(i->status), "%s", p->status);
        if (error)
                i->notify_error = p->error;
        if (exit_status)
                i->said_exit_status = p->exit_status;
        if (status || error || exit_status)
                instance_keep(i);
}

static void handle_ready(struct instance *i) {
        if (i->reloading && !i->commands)
                instance_reload_ended(i);
        if (i->life == LIFE_STARTING && i->config->type == COMPONENT_NOTIFY)
                instance_watch_start(i);
}

static void handle_store(struct instance *i, struct notify_packet *p) {
        const struct component_callbacks *up = &instance_table(i)->callbacks;

        if ((p->flags & NOTIFY_STORE) && up->store)
                up->store(up->owner, i->component, p);
        if ((p->flags & NOTIFY_REMOVE) && up->remove)
                up->remove(up->owner, i->component, p->fd_name);
}

static void handle_watchdog(struct instance *i, const struct notify_packet *p) {
        if ((p->flags & NOTIFY_HAS_WATCHDOG_USEC) && i->watchdog_usec != p->watchdog_usec) {
                i->watchdog_usec = p->watchdog_usec;
                instance_keep(i); /* it says so only once */
        }
        if (p->flags & (NOTIFY_WATCHDOG | NOTIFY_HAS_WATCHDOG_USEC))
                instance_feed_watchdog(i);
}

static void on_notify(void *owner, struct notify_packet *p) {
        struct instance *i = owner;

        handle_words(i, p);
        if (p->flags & NOTIFY_HAS_MAIN_PID)
                handle_main_pid(i, p->main_pid);
        if (p->flags & (NOTIFY_STORE | NOTIFY_REMOVE))
                handle_store(i, p);
        handle_watchdog(i, p);
        if ((p->flags & NOTIFY_RELOADING) && !i->reloading) {
                i->reloading = true;
                instance_keep(i);
        }
        if (p->flags & NOTIFY_READY)
                handle_ready(i);
        if (p->flags & NOTIFY_STOPPING)
                instance_leaves(i);
        if (p->flags & NOTIFY_HAS_EXTEND) /* of the end, when it says both */
                instance_extend_deadline(i, p->extend_usec);
        if (p->flags & NOTIFY_TRIGGER)
                instance_fail(i, END_BY_WATCHDOG, "it said WATCHDOG=trigger");
}

static void dispose(void *owner, struct fd_list *fds) {
        const struct instance *i = owner;
        const struct component_callbacks *up = &instance_table(i)->callbacks;

        if (up->dispose)
                up->dispose(up->owner, fds);
        else
                fd_list_clear(fds);
}

void instance_listen(struct instance *i) {
        notify_socket_start(&i->notify, i->config->notify_access, &i->tree, &i->control_tree,
                            on_notify, dispose, i);
}
