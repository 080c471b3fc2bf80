/* How long an instance may be in a state, and what is said when that was not enough. */
#include <signal.h>
#include <stdio.h>

#include "components/instance_private.h"

#define EXTENSION_START_USEC (UINT64_C(86400) * 1000 * 1000)
#define EXTENSION_USEC (60 * 1000 * 1000)

static const char *too_slow(const struct instance *i) {
        switch (i->life) {
        case LIFE_PREPARING:
                return "ExecStartPre= took longer than TimeoutStartSec=";
        case LIFE_COMPLETING:
                return "ExecStartPost= took longer than TimeoutStartSec=";
        default:
                if (i->config->type == COMPONENT_NOTIFY && i->said_ready_usec == 0)
                        return "not ready within TimeoutStartSec=";
                return i->config->health.kind == HEALTH_AUTO
                               ? "not seen to accept within TimeoutStartSec="
                               : "not healthy within TimeoutStartSec=";
        }
}

/* A program that does not speak sd_notify(3) is found out by this. */
static const char *missing_word(const struct instance *i) {
        return i->life == LIFE_STARTING && i->config->type == COMPONENT_NOTIFY &&
                               i->said_ready_usec == 0
                       ? ": it has not said READY=1"
                       : "";
}

static void start_is_too_slow(struct instance *i) {
        char text[REASON_SIZE] = "";

        if (!instance_accept_text(i, text, sizeof(text)) && i->health_text[0])
                (void) snprintf(text, sizeof(text), "; last: %s", i->health_text);
        instance_set_reason(i, "%s (%g s)%s%s", too_slow(i),
                            (double) i->config->timeout_start_usec / 1e6, missing_word(i), text);
        i->cause = END_BY_TIMEOUT;
}

/* What follows a stop signal that is not heeded follows this, too. */
static void leaving_is_too_slow(struct instance *i) {
        instance_set_reason(i, "it said STOPPING=1 and did not end within TimeoutStopSec= (%g s)",
                            (double) i->config->timeout_stop_usec / 1e6);
        i->cause = END_BY_TIMEOUT;
}

static void reload_is_too_slow(struct instance *i) {
        instance_commands_stop(i);
        instance_set_reason(i, "reloading took longer than TimeoutStartSec= (%g s)",
                            (double) i->config->timeout_start_usec / 1e6);
        instance_reload_ended(i);
}

/* A pause of the socket or a stop of the broker may have left a word in time unread. */
bool instance_is_overdue(struct instance *i, const struct timer *due) {
        enum life life = i->life;
        bool goes_on = timer_is_started(&i->turn);

        notify_socket_drain(&i->notify);
        return i->life == life && timer_is_started(&i->turn) == goes_on && !timer_is_started(due);
}

static void on_deadline(void *owner) {
        struct instance *i = owner;

        if (!instance_is_overdue(i, &i->deadline))
                return;
        if (i->life == LIFE_READY) {
                if (i->reloading)
                        reload_is_too_slow(i);
                return;
        }
        if (instance_is_starting(i)) {
                start_is_too_slow(i);
        } else if (instance_leaves_unasked(i)) {
                leaving_is_too_slow(i);
        } else if (i->life == LIFE_KILLED) {
                log_error(instance_table(i)->log, INSTANCE_ABOUT(i),
                          "%s: processes of generation %llu %s; they are left alone",
                          i->component->name, (unsigned long long) i->generation,
                          i->config->final_kill_signal == SIGKILL
                                  ? "hang in the kernel and cannot be ended"
                                  : "do not end by FinalKillSignal=");
        }
        instance_event(i, LIFE_DEADLINE);
}

void instance_set_deadline(struct instance *i, uint64_t usec) {
        if (usec == USEC_INFINITY)
                return;
        i->deadline_usec = loop_in_usec(usec);
        deadline_start(&i->deadline, instance_table(i)->loop, usec, on_deadline, i);
}

void instance_clear_deadline(struct instance *i) {
        timer_stop(&i->deadline);
        i->deadline_usec = 0;
}

/* Who drains must ask again before this is over: a stop does not hang on one that asked for ever.
 */
static uint64_t extension_max(const struct instance *i) {
        uint64_t usec = i->config->timeout_stop_usec;

        if (i->life < LIFE_DRAINING)
                return EXTENSION_START_USEC;
        return usec > EXTENSION_USEC ? usec : EXTENSION_USEC;
}

void instance_extend_deadline(struct instance *i, uint64_t usec) {
        if (usec > extension_max(i))
                usec = extension_max(i);
        if (i->deadline_usec == 0 || loop_now_usec() + usec <= i->deadline_usec)
                return;
        instance_set_deadline(i, usec);
        instance_keep(i);
}

void instance_resume_deadline(struct instance *i, uint64_t deadline_usec) {
        uint64_t now = loop_now_usec();

        if (deadline_usec == 0)
                return;
        /* It may have done meanwhile what was waited for: that is to be heard first. */
        if (deadline_usec < now + DEADLINE_GRACE_USEC)
                deadline_usec = now + DEADLINE_GRACE_USEC;
        instance_set_deadline(i, deadline_usec - now);
}
