/* The rules of systemd.service(5), "Restart=" and what stands near it. */
#include "components/restart_policy.h"

#include <signal.h>
#include <stddef.h>

static bool is_in(const struct exit_set *set, enum process_end end, int status) {
        switch (end) {
        case PROCESS_EXITED:
                return status >= 0 && status < 256 && (set->status[status / 8] & 1U << status % 8);
        case PROCESS_KILLED:
        case PROCESS_DUMPED:
                return status >= 1 && status <= 64 && (set->signals & SIGNAL_BIT(status));
        default:
                return false;
        }
}

/* Those that ask a daemon to end, or tell it that nobody listens. */
static bool is_clean_signal(int signal) {
        return signal == SIGHUP || signal == SIGINT || signal == SIGTERM || signal == SIGPIPE;
}

bool restart_policy_is_success(const struct component_config *config, enum process_end end,
                               int status) {
        if (config->start.ignore_failure) /* ExecStart=-… */
                return true;
        switch (end) {
        case PROCESS_EXITED:
                return status == 0 || is_in(&config->success, end, status);
        case PROCESS_KILLED:
                return is_clean_signal(status) || is_in(&config->success, end, status);
        default: /* a core dump is never one; and what nobody knows, nobody may call one */
                return false;
        }
}

/* What decides whatever became of the program then: our own signal ends it, which would count as a
 * success, or it was never run. */
static const unsigned reason_of_cause[N_END_CAUSES] = {
        [END_BY_TIMEOUT] = RESTART_ON_TIMEOUT, [END_BY_WATCHDOG] = RESTART_ON_WATCHDOG,
        [END_BY_COMMAND] = RESTART_ON_EXIT,    [END_BY_COMMAND_SIGNAL] = RESTART_ON_SIGNAL,
        [END_BY_SILENCE] = RESTART_ON_TIMEOUT, /* on-failure, on-abnormal, always */
};

/* The reasons in Restart= that such an end is one of. */
static unsigned reasons(const struct component_config *config, enum end_cause cause,
                        enum process_end end, int status) {
        if (cause != END_BY_ITSELF)
                return reason_of_cause[cause];
        if (restart_policy_is_success(config, end, status))
                return RESTART_ON_SUCCESS;
        switch (end) {
        case PROCESS_EXITED:
                return RESTART_ON_EXIT;
        case PROCESS_KILLED:
        case PROCESS_DUMPED:
                return RESTART_ON_SIGNAL;
        default: /* it may have been any of them: who wants one of them wants to be served */
                return RESTART_ON_SUCCESS | RESTART_ON_EXIT | RESTART_ON_SIGNAL;
        }
}

bool restart_policy_wants(const struct component_config *config, enum end_cause cause,
                          enum process_end end, int status) {
        if (is_in(&config->no_restart, end, status))
                return false;
        return is_in(&config->force_restart, end, status) ||
               (config->restart & reasons(config, cause, end, status)) != 0;
}

/* The n-th root of a number above 1, by halving: exact enough for a delay, and without libm. */
static double root(double number, unsigned n) {
        double low = 1, high = number;

        for (int i = 0; i < 64; i++) {
                double middle = (low + high) / 2, power = 1;

                for (unsigned k = 0; k < n && power <= number; k++)
                        power *= middle;
                if (power > number)
                        high = middle;
                else
                        low = middle;
        }
        return low;
}

/*
 * RestartSteps=N: from RestartSec= to RestartMaxDelaySec= in N steps, each longer than the one
 * before by the same factor. The first is RestartSec= itself.
 */
static uint64_t delay_at(const struct component_config *config, unsigned step) {
        double delay = (double) config->restart_usec, factor;

        if (config->restart_steps == 0 || step == 0 || config->restart_usec == 0 ||
            config->restart_max_delay_usec == USEC_INFINITY ||
            config->restart_max_delay_usec <= config->restart_usec)
                return config->restart_usec;
        if (step >= config->restart_steps)
                return config->restart_max_delay_usec;
        factor = root((double) config->restart_max_delay_usec / delay, config->restart_steps);
        for (unsigned i = 0; i < step; i++)
                delay *= factor;
        return (uint64_t) delay;
}

uint64_t restart_policy_delay_usec(struct restart_policy *policy,
                                   const struct component_config *config) {
        uint64_t delay = delay_at(config, policy->steps);

        if (policy->steps < config->restart_steps)
                policy->steps++;
        return delay;
}

void restart_policy_reset(struct restart_policy *policy) {
        policy->steps = 0;
}

/* No limit when there is no interval or no number, as in systemd. */
static bool pass(struct rate_limit *limit, uint64_t interval_usec, unsigned burst,
                 uint64_t now_usec) {
        unsigned suppressed;

        if (interval_usec == 0 || burst == 0)
                return true;
        limit->interval_usec = interval_usec;
        limit->burst = burst;
        return rate_limit_pass(limit, now_usec, &suppressed);
}

bool restart_policy_may_start(struct restart_policy *policy, const struct component_config *config,
                              uint64_t now_usec) {
        return pass(&policy->starts, config->start_limit_interval_usec, config->start_limit_burst,
                    now_usec);
}

bool restart_policy_may_trigger(struct restart_policy *policy,
                                const struct component_config *config, uint64_t now_usec) {
        return pass(&policy->triggers, config->trigger_limit_interval_usec,
                    config->trigger_limit_burst, now_usec);
}
