/* How an instance is told to end, and is ended: the signals of systemd.kill(5), and whom they
 * reach. */
#include <signal.h>

#include "components/instance_private.h"

static bool has_processes(const struct instance *i) {
        return i->tree.pidfd >= 0 && !i->tree.ended;
}

/* systemd leaves what KillMode= and SendSIGKILL= do not reach. */
static bool leaves_others(const struct instance *i) {
        const struct component_config *c = i->config;

        return c->kill_mode == KILL_PROCESS || c->kill_mode == KILL_NONE ||
               (c->kill_mode == KILL_MIXED && !c->send_sigkill);
}

bool instance_has_nothing_to_end(const struct instance *i) {
        return !has_processes(i) || (i->tree.main_ended && leaves_others(i));
}

bool instance_send_kill(struct instance *i) {
        const struct component_config *c = i->config;

        if (!c->send_sigkill || c->kill_mode == KILL_NONE)
                return false;
        if (c->kill_mode == KILL_PROCESS)
                (void) process_tree_signal_main(&i->tree, c->final_kill_signal);
        else if (c->final_kill_signal != SIGKILL)
                (void) process_tree_signal_all(&i->tree, c->final_kill_signal);
        else
                process_tree_kill(&i->tree);
        return true;
}

static int stop_signal(const struct instance *i) {
        const struct component_config *c = i->config;

        if (i->cause == END_BY_WATCHDOG)
                return c->watchdog_signal;
        /* It makes room for another one, as long as the component is to run. */
        return i->asked_to_stop && i->component->goal == GOAL_RUNNING ? c->restart_kill_signal
                                                                      : c->kill_signal;
}

void instance_send_stop(struct instance *i) {
        const struct component_config *c = i->config;
        int signal = stop_signal(i);

        if (i->signaled || c->kill_mode == KILL_NONE)
                return;
        if (instance_leaves_unasked(i))
                return; /* it is at it */
        i->signaled = true;
        if (i->tree.main_ended || c->kill_mode == KILL_CONTROL_GROUP)
                (void) process_tree_signal_all(&i->tree, signal);
        else
                (void) process_tree_signal_main(&i->tree, signal);
        if (c->send_sighup && c->kill_mode == KILL_CONTROL_GROUP)
                (void) process_tree_signal_all(&i->tree, SIGHUP);
        else if (c->send_sighup)
                (void) process_tree_signal_main(&i->tree, SIGHUP);
        instance_keep(i); /* at once: who dies now is not to have its successor say it again */
}
