/* An instance is told to read its configuration anew: ExecReload=, ReloadSignal= or SIGHUP. */
#include <errno.h>
#include <signal.h>

#include "components/instance_private.h"
#include "core/process.h"

void instance_reload_ended(struct instance *i) {
        i->reloading = false;
        if (i->life == LIFE_READY)
                instance_clear_deadline(i); /* it was the reload's */
        instance_keep(i);
        component_instance_changed(i->component, i, i->life);
}

int instance_reload(struct instance *i) {
        if (i->life != LIFE_READY)
                return -ESRCH;
        if (i->commands)
                return -EBUSY;
        i->reason[0] = '\0';
        if (i->config->reload.count == 0 && i->config->reload_signal == 0 &&
            process_would_die_of(i->tree.pid, SIGHUP)) {
                instance_set_reason(i, "it does not catch SIGHUP, which would end it: set "
                                       "ExecReload=, or restart it");
                return -EOPNOTSUPP;
        }
        /* Only who knows the protocol of Type=notify-reload says when it is done. */
        i->reloading = i->config->reload.count > 0 || i->config->reload_signal != 0;
        if (i->reloading)
                instance_set_deadline(i, i->config->timeout_start_usec);
        if (i->config->reload.count == 0) {
                instance_keep(i);
                return process_tree_signal_main(&i->tree,
                                                i->reloading ? i->config->reload_signal : SIGHUP);
        }
        instance_run_commands(i, &i->config->reload);
        return 0;
}
