/*
 * When a component that ended is started again, and when it is left alone. Pure reckoning: the time
 * comes from the caller.
 */
#ifndef COMPONENTS_RESTART_POLICY_H
#define COMPONENTS_RESTART_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "components/process_tree.h"
#include "config/component_config.h"
#include "core/log.h"

/* Why a generation ended that nobody asked to. Kept as numbers: new ones come last. */
enum end_cause {
        END_BY_ITSELF,
        END_BY_TIMEOUT,
        END_BY_WATCHDOG,
        END_BY_COMMAND,        /* ExecStartPre= or ExecStartPost= exited with a failure */
        END_BY_COMMAND_SIGNAL, /* or was killed */
        END_BY_SILENCE,        /* well, and without READY=1 that it was to say */
        N_END_CAUSES
};

struct restart_policy {
        struct rate_limit starts; /* StartLimitIntervalSec=, StartLimitBurst= */
        struct rate_limit triggers;
        unsigned steps; /* restarts in a row, for RestartSteps= */
};

/* Was this end a success (SuccessExitStatus=)? */
bool restart_policy_is_success(const struct component_config *config, enum process_end end,
                               int status);
/* Do Restart=, RestartPreventExitStatus= and RestartForceExitStatus= want it again? */
bool restart_policy_wants(const struct component_config *config, enum end_cause cause,
                          enum process_end end, int status);
/* The delay before the next start; grows with each call until restart_policy_reset(). */
uint64_t restart_policy_delay_usec(struct restart_policy *policy,
                                   const struct component_config *config);
/* It has served again, or somebody asked. */
void restart_policy_reset(struct restart_policy *policy);
/* One more start: false when the start limit says no. */
bool restart_policy_may_start(struct restart_policy *policy, const struct component_config *config,
                              uint64_t now_usec);
bool restart_policy_may_trigger(struct restart_policy *policy,
                                const struct component_config *config, uint64_t now_usec);

#endif
