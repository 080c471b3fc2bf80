/* See choices.h. */
#include "config/choices.h"

#include <stddef.h>

#include "config/component_config.h"
#include "config/config.h"

#define ON_ABNORMAL (RESTART_ON_SIGNAL | RESTART_ON_TIMEOUT | RESTART_ON_WATCHDOG)
#define ON_FAILURE (RESTART_ON_EXIT | ON_ABNORMAL)

const char *const ipv6_only_words[] = {
        [IPV6_ONLY_DEFAULT] = "default",
        [IPV6_ONLY_BOTH] = "both",
        [IPV6_ONLY_ONLY] = "ipv6-only",
};

const char *const component_type_words[] = {
        [COMPONENT_SIMPLE] = "simple",
        [COMPONENT_EXEC] = "exec",
        [COMPONENT_NOTIFY] = "notify",
};

const char *const notify_access_words[] = {
        [NOTIFY_NONE] = "none",
        [NOTIFY_MAIN] = "main",
        [NOTIFY_EXEC] = "exec",
        [NOTIFY_ALL] = "all",
};

const char *const kill_mode_words[] = {
        [KILL_CONTROL_GROUP] = "control-group",
        [KILL_MIXED] = "mixed",
        [KILL_PROCESS] = "process",
        [KILL_NONE] = "none",
};

const char *const handover_words[] = {
        [HANDOVER_OVERLAP] = "overlap",
        [HANDOVER_STOP_FIRST] = "stop-first",
};

const char *const preserve_words[] = {
        [PRESERVE_NO] = "no",
        [PRESERVE_YES] = "yes",
        [PRESERVE_RESTART] = "restart",
};

/* systemd.service(5), "Exit causes and the effect of the Restart= settings". */
const char *const restart_words[] = {"no",          "always",   "on-success", "on-failure",
                                     "on-abnormal", "on-abort", "on-watchdog"};
const unsigned restart_sets[] = {
        0,
        RESTART_ON_SUCCESS | ON_FAILURE,
        RESTART_ON_SUCCESS,
        ON_FAILURE,
        ON_ABNORMAL,
        RESTART_ON_SIGNAL,
        RESTART_ON_WATCHDOG,
};

const char *restart_word(unsigned set) {
        size_t i = 0;

        while (i + 1 < N_RESTARTS && restart_sets[i] != set)
                i++;
        return restart_words[i];
}

const char *const start_words[] = {
        [START_AUTO] = "auto",
        [START_ON_DEMAND] = "on-demand",
        [START_MANUAL] = "manual",
};

const char *start_word(const struct component_config *c) {
        return start_words[c->on_demand ? START_ON_DEMAND : c->manual ? START_MANUAL : START_AUTO];
}
