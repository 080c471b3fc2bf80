/* Shared by the files of instance.h. */
#ifndef COMPONENTS_INSTANCE_PRIVATE_H
#define COMPONENTS_INSTANCE_PRIVATE_H

#include "components/component.h"
#include "components/component_table.h"
#include "components/instance.h"
#include "core/log.h"

static inline struct component_table *instance_table(const struct instance *i) {
        return i->component->table;
}

#define INSTANCE_ABOUT(i) ABOUT(.component = (i)->component->name, .pid = (i)->tree.pid)

/* "hermes", or "hermes.2" when there are several; for messages. */
const char *instance_label(const struct instance *i, char *buffer, size_t size);

/* An event that has happened already, for the next turn: nothing is entered from within an entry.
 */
void instance_defer(struct instance *i, enum life_event event);
/* Keep what was said first. */
void instance_set_reason(struct instance *i, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* ---- instance_start.c ------------------------------------------------------------------------ */

/* The main program. A failure is told as LIFE_FAIL, later. */
void instance_spawn_main(struct instance *i);
/*
 * A list of commands, one after the other; LIFE_COMMANDS_DONE or LIFE_COMMAND_FAILED follow, except
 * for ExecStop= and ExecReload=, which have a next step of their own.
 */
void instance_run_commands(struct instance *i, const struct command_list *commands);
/*
 * A list that a broker before us had under way: `next` of it is the next one, and the one before
 * that runs, or ran, as control_tree, if that has a pidfd.
 */
void instance_commands_go_on(struct instance *i, const struct command_list *commands, size_t next);
/* control_tree, as it was kept. Takes pidfd. */
void instance_adopt_command(struct instance *i, const struct process_tree_kept *kept);
void instance_commands_stop(struct instance *i);             /* kills the one that runs */
void instance_commands_ended(struct instance *i, bool good); /* instance.c: what comes next */

/* ---- instance_ready.c ------------------------------------------------------------------------ */

/* Find out when it is ready; and after that, that it still serves. */
void instance_watch_start(struct instance *i);
void instance_watch_stop(struct instance *i);
void instance_listen(struct instance *i);   /* to its notify socket */
void instance_executed(struct instance *i); /* the program itself runs */
void instance_feed_watchdog(struct instance *i);

/* ---- instance_accept.c ----------------------------------------------------------------------- */

/*
 * Ask by connections of our own, at each of its stream listeners, whether it accepts; until it is
 * ready or instance_accept_stop(). -ENOENT: it has none of which that could be told, -ENOMEM.
 */
int instance_accept_start(struct instance *i);
void instance_accept_stop(struct instance *i);
/* ": it said READY=1 and accepted none of …"; false when it was not asked. */
bool instance_accept_text(const struct instance *i, char *buffer, size_t size);
/* instance_ready.c: what came of it. */
void instance_accepts(struct instance *i, const char *text);
void instance_accepts_untold(struct instance *i); /* its own word is all that is to be had */

/* ---- instance_drain.c ------------------------------------------------------------------------ */

/* Count its connections from time to time, until instance_drain_stop(). */
void instance_drain_start(struct instance *i);
void instance_drain_stop(struct instance *i);

/* ---- instance_reload.c ----------------------------------------------------------------------- */

/* Well, or with a reason. */
void instance_reload_ended(struct instance *i);

/* ---- instance_signal.c ----------------------------------------------------------------------- */

/* No process is left, or none that KillMode= and SendSIGKILL= let us end. */
bool instance_has_nothing_to_end(const struct instance *i);
/* The stop signal, once. */
void instance_send_stop(struct instance *i);
/* SIGKILL, or what stands for it. False: nothing is to end it, so it is left alone. */
bool instance_send_kill(struct instance *i);

/* ---- instance.c, instance_deadline.c --------------------------------------------------------- */

/* What comes next when it is known to serve: ExecStartPost= where there is one. */
static inline enum life_event instance_after_start(const struct instance *i) {
        return i->config->start_post.count > 0 ? LIFE_IS_READY : LIFE_COMMANDS_DONE;
}

/* When nothing of it runs any more: ExecStopPost= where there is one. */
static inline enum life_event instance_after_end(const struct instance *i) {
        return i->config->stop_post.count > 0 ? LIFE_TREE_ENDED : LIFE_COMMANDS_DONE;
}

/* Its state ends then, or not before: EXTEND_TIMEOUT_USEC=. */
void instance_set_deadline(struct instance *i, uint64_t usec);
void instance_extend_deadline(struct instance *i, uint64_t usec);
void instance_clear_deadline(struct instance *i);
/* Its timer has come to its end: false when a word that lay unread takes that back. */
bool instance_is_overdue(struct instance *i, const struct timer *due);
/*
 * In this state already, since a life of the broker's before. Commands that are part of it go on by
 * themselves.
 */
void instance_go_on(struct instance *i, enum life life);
/* Adopted, and never let begin: all that was made for its main process is made anew. */
void instance_start_again(struct instance *i);
/* The state ends when it was to end, CLOCK_MONOTONIC; 0: when it likes. */
void instance_resume_deadline(struct instance *i, uint64_t deadline_usec);
void instance_main_ended(void *owner);
void instance_tree_ended(void *owner);

#endif
