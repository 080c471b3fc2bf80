/*
 * The life of one process of a generation. An entry into a state never causes another one from
 * within: what it finds to have happened already comes in the next turn of the loop.
 */
#include "components/instance.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "components/instance_private.h"
#include "core/clock.h"
#include "core/process.h"

#define CLEAN_USEC (10 * 1000 * 1000) /* for ExecStopPost= where TimeoutStopSec= is infinite */
#define KILL_USEC (5 * 1000 * 1000)   /* a process that SIGKILL does not end in that time hangs */

_Static_assert(sizeof(struct instance) <= 6 * 1024, "there are thousands: no buffers within");

static void enter_preparing(struct instance *i);
static void enter_starting(struct instance *i);
static void enter_completing(struct instance *i);
static void enter_ready(struct instance *i);
static void enter_draining(struct instance *i);
static void enter_killed(struct instance *i);
static void enter_cleaning(struct instance *i);
static void enter_stopped(struct instance *i);

/* LIFE_NEW, to which nothing returns: the event does not concern this state. */
static const struct {
        const char *name; /* for users */
        void (*enter)(struct instance *i);
        enum life next[N_LIFE_EVENTS];
} lives[N_LIVES] = {
        [LIFE_NEW] = {"stopped",
                      NULL,
                      {[LIFE_BEGIN] = LIFE_PREPARING,
                       [LIFE_COMMANDS_DONE] = LIFE_STARTING,
                       [LIFE_STOP] = LIFE_STOPPED,
                       [LIFE_FAIL] = LIFE_STOPPED}},
        [LIFE_PREPARING] = {"starting",
                            enter_preparing,
                            {[LIFE_COMMANDS_DONE] = LIFE_STARTING,
                             [LIFE_COMMAND_FAILED] = LIFE_KILLED,
                             [LIFE_DEADLINE] = LIFE_KILLED,
                             [LIFE_STOP] = LIFE_KILLED,
                             [LIFE_FAIL] = LIFE_KILLED}},
        [LIFE_STARTING] = {"starting",
                           enter_starting,
                           {[LIFE_IS_READY] = LIFE_COMPLETING,
                            [LIFE_COMMANDS_DONE] = LIFE_READY,
                            [LIFE_MAIN_ENDED] = LIFE_KILLED,
                            [LIFE_TREE_ENDED] = LIFE_KILLED,
                            [LIFE_DEADLINE] = LIFE_DRAINING,
                            [LIFE_STOP] = LIFE_DRAINING,
                            [LIFE_FAIL] = LIFE_DRAINING,
                            [LIFE_LEAVES] = LIFE_DRAINING}},
        [LIFE_COMPLETING] = {"starting",
                             enter_completing,
                             {[LIFE_COMMANDS_DONE] = LIFE_READY,
                              [LIFE_COMMAND_FAILED] = LIFE_DRAINING,
                              [LIFE_MAIN_ENDED] = LIFE_KILLED,
                              [LIFE_TREE_ENDED] = LIFE_KILLED,
                              [LIFE_DEADLINE] = LIFE_DRAINING,
                              [LIFE_STOP] = LIFE_DRAINING,
                              [LIFE_FAIL] = LIFE_DRAINING,
                              [LIFE_LEAVES] = LIFE_DRAINING}},
        [LIFE_READY] = {"ready",
                        enter_ready,
                        {[LIFE_MAIN_ENDED] = LIFE_DRAINING,
                         [LIFE_TREE_ENDED] = LIFE_DRAINING,
                         [LIFE_STOP] = LIFE_DRAINING,
                         [LIFE_FAIL] = LIFE_DRAINING,
                         [LIFE_LEAVES] = LIFE_DRAINING}},
        [LIFE_DRAINING] = {"draining",
                           enter_draining,
                           {[LIFE_TREE_ENDED] = LIFE_CLEANING,
                            [LIFE_COMMANDS_DONE] = LIFE_STOPPED,
                            [LIFE_DEADLINE] = LIFE_KILLED,
                            [LIFE_STOP] = LIFE_DRAINING}}, /* instance_stop_leaving() */
        [LIFE_KILLED] = {"draining",
                         enter_killed,
                         {[LIFE_TREE_ENDED] = LIFE_CLEANING,
                          [LIFE_COMMANDS_DONE] = LIFE_STOPPED,
                          [LIFE_DEADLINE] = LIFE_STOPPED}},
        [LIFE_CLEANING] = {"draining",
                           enter_cleaning,
                           {[LIFE_COMMANDS_DONE] = LIFE_STOPPED,
                            [LIFE_COMMAND_FAILED] = LIFE_STOPPED,
                            [LIFE_DEADLINE] = LIFE_STOPPED}},
        [LIFE_STOPPED] = {"stopped", enter_stopped, {0}},
};

const char *life_name(enum life life) {
        return lives[life].name;
}

static const char *readiness(const struct instance *i) {
        bool seen = !i->by_own_word && i->evidence > EVIDENCE_HOLDS;

        if (i->evidence == EVIDENCE_SERVED && i->health_text[0])
                return i->health_text;
        if (seen)
                return evidence_text(i->evidence);
        if (i->config->type == COMPONENT_NOTIFY)
                return "its own word (READY=1)";
        return i->config->n_sockets > 0 ? "its own word: it runs" : "running";
}

const char *instance_label(const struct instance *i, char *buffer, size_t size) {
        if (i->config->instances > 1)
                (void) snprintf(buffer, size, "%s.%u", i->component->name, i->index + 1);
        else
                (void) snprintf(buffer, size, "%s", i->component->name);
        return buffer;
}

void instance_set_reason(struct instance *i, const char *format, ...) {
        va_list arguments;

        if (i->reason[0])
                return;
        va_start(arguments, format);
        (void) vsnprintf(i->reason, sizeof(i->reason), format, arguments);
        va_end(arguments);
}

const char *instance_reason(const struct instance *i) {
        return !i->reason[0] && i->leaves ? "it said STOPPING=1" : i->reason;
}

/* ---- events -----------------------------------------------------------------------------------*/

static void log_change(const struct instance *i, enum life before) {
        const char *reason = i->life >= LIFE_DRAINING ? instance_reason(i) : "";
        char label[NAME_LENGTH_MAX + 16];

        if (lives[before].name == lives[i->life].name && i->life != LIFE_KILLED)
                return;
        (void) instance_label(i, label, sizeof(label));
        if (i->life == LIFE_KILLED && i->tree.main_ended)
                return;
        log_write(instance_table(i)->log, LEVEL_INFO, INSTANCE_ABOUT(i),
                  "%s: generation %llu %s%s%s", label, (unsigned long long) i->generation,
                  i->life == LIFE_KILLED ? "killed" : lives[i->life].name, reason[0] ? ": " : "",
                  reason);
}

static void set_state(struct instance *i, enum life next) {
        enum life before = i->life;

        instance_clear_deadline(i);
        timer_stop(&i->turn);
        i->life = next;
        log_change(i, before);
        if (lives[next].enter)
                lives[next].enter(i);
        if (next != LIFE_STOPPED)
                instance_keep(i);
        component_instance_changed(i->component, i, before);
}

void instance_event(struct instance *i, enum life_event event) {
        enum life next = lives[i->life].next[event];

        if (next != LIFE_NEW)
                set_state(i, next);
}

void instance_begin(struct instance *i) {
        instance_event(i, i->config->start_pre.count > 0 ? LIFE_BEGIN : LIFE_COMMANDS_DONE);
}

static void on_turn(void *owner) {
        struct instance *i = owner;

        instance_event(i, i->pending);
}

void instance_defer(struct instance *i, enum life_event event) {
        i->pending = event;
        timer_start(&i->turn, instance_table(i)->loop, 0, on_turn, i);
}

/* ---- its processes ----------------------------------------------------------------------------*/

static void all_ended(struct instance *i) {
        bool ends = i->life == LIFE_DRAINING || i->life == LIFE_KILLED;

        if (ends && i->commands)
                return; /* ExecStop= still runs: it is waited for */
        instance_event(i, ends ? instance_after_end(i) : LIFE_TREE_ENDED);
}

/* Before what it ended, if it came to no good. Who said READY=1 was still to be seen to serve. */
static const char *too_early(const struct instance *i) {
        bool has_health = i->config->health.kind > HEALTH_NO;

        if (i->was_ready)
                return "";
        if (!i->leaves || i->config->type != COMPONENT_NOTIFY || i->said_ready_usec == 0)
                return " before it was ready";
        if (i->by_own_word || (!has_health && i->config->n_sockets == 0) ||
            i->evidence >= (has_health ? EVIDENCE_SERVED : EVIDENCE_WATCHES))
                return "";
        return has_health ? " before it was healthy" : " before it was seen to accept";
}

static const char *stopping_word(const struct instance *i) {
        if (!i->leaves)
                return NULL;
        return i->was_ready || too_early(i)[0] ? "STOPPING=1"
                                               : "STOPPING=1 as soon as it was ready";
}

/* What it had said of its end: "; it said: STOPPING=1, No space left on device, EXIT_STATUS=3" */
static const char *last_words(const struct instance *i, char *buffer, size_t size) {
        char exit_status[32];
        const char *const words[] = {
                stopping_word(i),
                i->notify_error > 0 ? strerror(i->notify_error) : NULL,
                i->said_exit_status >= 0 ? exit_status : NULL,
        };
        size_t used = 0;

        (void) snprintf(exit_status, sizeof(exit_status), "EXIT_STATUS=%d", i->said_exit_status);
        buffer[0] = '\0';
        for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++)
                if (words[k] && used < size)
                        used += (size_t) snprintf(buffer + used, size - used, "%s%s",
                                                  used ? ", " : "; it said: ", words[k]);
        return buffer;
}

static void say_end(struct instance *i) {
        char text[64], words[160];

        if (i->life >= LIFE_DRAINING && !i->leaves)
                return;
        (void) process_end_text(i->tree.end, i->tree.status, text, sizeof(text));
        instance_set_reason(i, "%s%s%s", text, too_early(i), last_words(i, words, sizeof(words)));
}

/* The broker that started it died before it let it begin. */
static bool was_never_released(const struct instance *i) {
        return i->adopted && !i->executed && i->life == LIFE_STARTING &&
               i->tree.end == PROCESS_EXITED && i->tree.status == SPAWN_UNRELEASED_STATUS;
}

/* It may have said MAINPID= and ended at once, as a daemon does that forks away. */
static void on_main_exit(void *owner) {
        struct instance *i = owner;

        notify_socket_drain(&i->notify);
}

static void init_tree(struct instance *i) {
        i->tree = (struct process_tree){.pidfd = -1,
                                        .cgroup_fd = -1,
                                        .events_fd = -1,
                                        .leader_fd = -1,
                                        .on_main_exit = on_main_exit};
}

void instance_start_again(struct instance *i) {
        instance_watch_stop(i);
        instance_forget(i);
        process_tree_clear(&i->tree);
        init_tree(i);
        notify_socket_close(&i->notify, true);
        output_pipe_close(&i->output);
        output_pipe_close(&i->error);
        i->adopted = false;
        i->started_usec = i->said_ready_usec = 0;
        i->life = LIFE_NEW;
        instance_event(i, LIFE_COMMANDS_DONE);
}

void instance_main_ended(void *owner) {
        struct instance *i = owner;

        if (was_never_released(i)) {
                instance_start_again(i);
                return;
        }
        notify_socket_drain(&i->notify); /* its last words: ERRNO=, STATUS= */
        output_pipe_drain(&i->output);
        output_pipe_drain(&i->error);
        /* Why it could not be executed may not have been read yet. */
        if (io_watch_is_started(&i->spawn_watch.watch))
                i->spawn_watch.watch.handler(i->spawn_watch.watch.owner, IO_READ);
        spawn_watch_stop(&i->spawn_watch);
        say_end(i);
        if (instance_is_ending(i) && instance_has_nothing_to_end(i))
                all_ended(i);
        else if (i->life == LIFE_DRAINING && i->config->kill_mode == KILL_MIXED)
                (void) instance_send_kill(i);
        else if (i->life == LIFE_DRAINING && i->leaves)
                instance_send_stop(i); /* to the rest of it, which nobody has told */
        else
                instance_event(i, LIFE_MAIN_ENDED);
}

void instance_tree_ended(void *owner) {
        all_ended(owner);
}

/* ---- entries ----------------------------------------------------------------------------------*/

static void enter_preparing(struct instance *i) {
        i->started_usec = loop_now_usec();
        i->since_usec = clock_realtime_usec();
        instance_set_deadline(i, i->config->timeout_start_usec);
        instance_run_commands(i, &i->config->start_pre);
}

static void enter_starting(struct instance *i) {
        bool is_prepared = i->started_usec > 0;

        if (!is_prepared) {
                i->started_usec = loop_now_usec();
                i->since_usec = clock_realtime_usec();
        }
        instance_set_deadline(i, i->config->timeout_start_usec);
        if (is_prepared)
                instance_keep(i); /* ExecStartPre= is not to be run again, if we die now */
        instance_spawn_main(i);
}

static void enter_completing(struct instance *i) {
        instance_set_deadline(i, i->config->timeout_start_usec);
        instance_run_commands(i, &i->config->start_post);
}

static void enter_ready(struct instance *i) {
        i->ready_usec = loop_now_usec();
        i->was_ready = true;
        (void) snprintf(i->ready_by, sizeof(i->ready_by), "%s", readiness(i));
        i->is_healthy = true;
        instance_watch_start(i);
        instance_feed_watchdog(i);
}

static void enter_draining(struct instance *i) {
        instance_watch_stop(i);
        instance_commands_stop(i);
        i->drain_usec = loop_now_usec();
        instance_set_deadline(i, i->config->timeout_stop_usec);
        instance_drain_start(i);
        if (instance_has_nothing_to_end(i))
                instance_defer(i, instance_after_end(i));
        else if (i->config->stop.count > 0 && i->was_ready && !i->tree.main_ended &&
                 i->cause == END_BY_ITSELF && !i->signaled && !i->leaves)
                instance_run_commands(i, &i->config->stop);
        else
                instance_send_stop(i);
}

static void enter_killed(struct instance *i) {
        instance_watch_stop(i);
        instance_commands_stop(i);
        if (i->drain_usec == 0)
                i->drain_usec = loop_now_usec();
        instance_set_deadline(i, KILL_USEC);
        if (instance_has_nothing_to_end(i)) {
                instance_defer(i, instance_after_end(i));
        } else if (instance_send_kill(i)) {
                i->was_killed = true;
        } else {
                log_warning(instance_table(i)->log, INSTANCE_ABOUT(i),
                            "%s: processes of generation %llu do not end, and are left alone as "
                            "%s says",
                            i->component->name, (unsigned long long) i->generation,
                            i->config->kill_mode == KILL_NONE ? "KillMode=none" : "SendSIGKILL=no");
                instance_defer(i, instance_after_end(i));
        }
}

static void enter_cleaning(struct instance *i) {
        uint64_t usec = i->config->timeout_stop_usec;

        instance_set_deadline(i, usec == USEC_INFINITY ? CLEAN_USEC : usec);
        instance_run_commands(i, &i->config->stop_post);
}

static void enter_stopped(struct instance *i) {
        i->ended_usec = loop_now_usec();
        instance_watch_stop(i);
        instance_commands_stop(i);
        output_pipe_drain(&i->output);
        output_pipe_drain(&i->error);
}

/* ---- after its commands -----------------------------------------------------------------------*/

static void stop_commands_ended(struct instance *i) {
        if (instance_has_nothing_to_end(i))
                all_ended(i);
        else
                instance_send_stop(i);
}

void instance_commands_ended(struct instance *i, bool good) {
        const struct command_list *list = i->commands;

        i->commands = NULL;
        if (list == &i->config->stop) {
                stop_commands_ended(i);
        } else if (list == &i->config->reload) {
                instance_reload_ended(i);
        } else {
                instance_event(i, good ? LIFE_COMMANDS_DONE : LIFE_COMMAND_FAILED);
        }
}

/* ---- after a broker before us -----------------------------------------------------------------*/

static void go_on_starting(struct instance *i) {
        bool said_ready = i->said_ready_usec > 0;

        i->said_ready_usec = 0;
        /* One that has ended is not to be taken for ready before its end is told. */
        if (i->config->type == COMPONENT_NOTIFY
                    ? said_ready
                    : i->tree.pidfd >= 0 && process_has_ended(i->tree.pidfd) == 0)
                instance_watch_start(i);
}

static void go_on_draining(struct instance *i) {
        instance_drain_start(i);
        if (i->commands)
                return; /* ExecStop= goes on */
        if (instance_has_nothing_to_end(i))
                instance_defer(i, instance_after_end(i));
        else
                instance_send_stop(i); /* unless it was told already */
}

static void go_on_killed(struct instance *i) {
        uint64_t deadline_usec = i->deadline_usec;

        enter_killed(i);
        instance_resume_deadline(i, deadline_usec);
}

void instance_go_on(struct instance *i, enum life life) {
        i->life = life;
        switch (life) {
        case LIFE_STARTING:
                go_on_starting(i);
                break;
        case LIFE_READY:
                instance_watch_start(i);
                instance_feed_watchdog(i); /* what it said meanwhile has not been read yet */
                break;
        case LIFE_DRAINING:
                go_on_draining(i);
                break;
        case LIFE_KILLED:
                go_on_killed(i);
                break;
        default:
                break;
        }
        component_touch(i->component);
}

/* ---- from outside -----------------------------------------------------------------------------*/

void instance_stop(struct instance *i) {
        if (i->life >= LIFE_DRAINING)
                return;
        i->asked_to_stop = true;
        instance_event(i, LIFE_STOP);
}

void instance_stop_leaving(struct instance *i) {
        if (!instance_leaves_unasked(i))
                return;
        log_write(instance_table(i)->log, LEVEL_INFO, INSTANCE_ABOUT(i),
                  "%s: generation %llu, which said STOPPING=1, is told to stop now",
                  i->component->name, (unsigned long long) i->generation);
        i->asked_to_stop = true;
        instance_event(i, LIFE_STOP);
}

void instance_fail(struct instance *i, enum end_cause cause, const char *format, ...) {
        char reason[REASON_SIZE];
        va_list arguments;

        if (lives[i->life].next[LIFE_FAIL] == LIFE_NEW)
                return; /* on its way out: why that is has been said */
        va_start(arguments, format);
        (void) vsnprintf(reason, sizeof(reason), format, arguments);
        va_end(arguments);
        instance_set_reason(i, "%s", reason);
        i->cause = cause;
        instance_event(i, LIFE_FAIL);
}

void instance_leaves(struct instance *i) {
        if (lives[i->life].next[LIFE_LEAVES] == LIFE_NEW)
                return;
        i->leaves = true;
        instance_event(i, LIFE_LEAVES);
}

int instance_new(struct component *component, uint64_t generation, unsigned index,
                 struct instance **ret) {
        struct instance *i = calloc(1, sizeof(*i));

        if (!i)
                return -ENOMEM;
        i->component = component;
        i->config = component_config_ref(component->config);
        i->generation = generation;
        i->number = ++component->table->instances_made;
        i->index = index;
        init_tree(i);
        i->control_tree.pidfd = i->control_tree.cgroup_fd = i->control_tree.events_fd = -1;
        i->spawn_watch.fd = i->control_watch.fd = -1;
        i->said_exit_status = -1;
        i->notify.fd = i->output.fd = i->error.fd = i->command_output.fd = -1;
        TAILQ_INSERT_TAIL(&component->instances, i, entry);
        component->n_instances++;
        *ret = i;
        return 0;
}

void instance_free(struct instance *i) {
        bool over = i->life == LIFE_STOPPED;

        timer_stop(&i->deadline);
        timer_stop(&i->turn);
        instance_watch_stop(i);
        spawn_watch_stop(&i->spawn_watch);
        spawn_watch_stop(&i->control_watch);
        if (over) {
                /* First what only the records tell of: who dies now is to have a successor that
                 * finds nothing left. */
                notify_socket_unlink(&i->notify);
                process_tree_remove_cgroup(&i->tree);
                instance_forget(i);
        }
        process_tree_clear(&i->control_tree);
        process_tree_clear(&i->tree);
        notify_socket_close(&i->notify, over);
        output_pipe_close(&i->output);
        output_pipe_close(&i->error);
        output_pipe_close(&i->command_output);
        TAILQ_REMOVE(&i->component->instances, i, entry);
        i->component->n_instances--;
        component_config_unref(i->config);
        free(i);
}
