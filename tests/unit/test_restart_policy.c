/* When a component that ended is started again, and after how long. */
#include <signal.h>

#include "component_support.h"
#include "components/restart_policy.h"
#include "support.h"

#define SECOND UINT64_C(1000000)

/* Restart= as systemd's table has it. */
enum {
        NO = 0,
        ALWAYS = 31,
        ON_FAILURE = RESTART_ON_EXIT | RESTART_ON_SIGNAL | RESTART_ON_TIMEOUT | RESTART_ON_WATCHDOG,
        ON_ABNORMAL = RESTART_ON_SIGNAL | RESTART_ON_TIMEOUT | RESTART_ON_WATCHDOG,
        ON_ABORT = RESTART_ON_SIGNAL,
};

START_TEST(restart_goes_by_how_it_ended) {
        static const struct {
                enum end_cause cause;
                enum process_end end;
                int status;
                bool always, on_success, on_failure, on_abnormal, on_abort, on_watchdog;
        } rows[] = {
                {END_BY_ITSELF, PROCESS_EXITED, 0, 1, 1, 0, 0, 0, 0},
                {END_BY_ITSELF, PROCESS_KILLED, SIGTERM, 1, 1, 0, 0, 0, 0},
                {END_BY_ITSELF, PROCESS_KILLED, SIGPIPE, 1, 1, 0, 0, 0, 0},
                {END_BY_ITSELF, PROCESS_EXITED, 1, 1, 0, 1, 0, 0, 0},
                {END_BY_ITSELF, PROCESS_KILLED, SIGKILL, 1, 0, 1, 1, 1, 0},
                {END_BY_ITSELF, PROCESS_DUMPED, SIGSEGV, 1, 0, 1, 1, 1, 0},
                {END_BY_ITSELF, PROCESS_DUMPED, SIGTERM, 1, 0, 1, 1, 1, 0},
                {END_BY_TIMEOUT, PROCESS_KILLED, SIGTERM, 1, 0, 1, 1, 0, 0},
                {END_BY_WATCHDOG, PROCESS_DUMPED, SIGABRT, 1, 0, 1, 1, 0, 1},
                {END_BY_ITSELF, PROCESS_UNKNOWN, 0, 1, 1, 1, 1, 1, 0},
                /* A command of the start failed: the program was not run yet, or we ended it. */
                {END_BY_COMMAND, PROCESS_RUNS, 0, 1, 0, 1, 0, 0, 0},
                {END_BY_COMMAND, PROCESS_KILLED, SIGTERM, 1, 0, 1, 0, 0, 0},
                {END_BY_SILENCE, PROCESS_EXITED, 0, 1, 0, 1, 1, 0, 0},
                {END_BY_COMMAND_SIGNAL, PROCESS_KILLED, SIGTERM, 1, 0, 1, 1, 1, 0},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
                const struct {
                        unsigned restart;
                        bool expected;
                } cases[] = {
                        {NO, false},
                        {ALWAYS, rows[i].always},
                        {RESTART_ON_SUCCESS, rows[i].on_success},
                        {ON_FAILURE, rows[i].on_failure},
                        {ON_ABNORMAL, rows[i].on_abnormal},
                        {ON_ABORT, rows[i].on_abort},
                        {RESTART_ON_WATCHDOG, rows[i].on_watchdog},
                };
                for (size_t k = 0; k < sizeof(cases) / sizeof(*cases); k++) {
                        struct component_config config = component_defaults();

                        config.restart = cases[k].restart;
                        ck_assert_msg(restart_policy_wants(&config, rows[i].cause, rows[i].end,
                                                           rows[i].status) == cases[k].expected,
                                      "row %zu, Restart= %u", i, cases[k].restart);
                }
        }
}
END_TEST

START_TEST(success_and_prevention_are_as_configured) {
        struct component_config config = component_defaults();

        config.restart = ALWAYS;
        config.success.status[143 / 8] |= 1U << (143 % 8);
        config.success.signals = SIGNAL_BIT(SIGUSR1) | SIGNAL_BIT(64);
        config.no_restart.status[255 / 8] |= 1U << (255 % 8);
        config.no_restart.signals = SIGNAL_BIT(SIGKILL);
        ck_assert(restart_policy_is_success(&config, PROCESS_EXITED, 143));
        ck_assert(!restart_policy_is_success(&config, PROCESS_EXITED, 142));
        ck_assert(restart_policy_is_success(&config, PROCESS_KILLED, SIGUSR1));
        ck_assert(!restart_policy_is_success(&config, PROCESS_KILLED, SIGUSR2));
        ck_assert(restart_policy_is_success(&config, PROCESS_KILLED, 64));
        ck_assert(!restart_policy_is_success(&config, PROCESS_KILLED, 65));
        ck_assert(!restart_policy_is_success(&config, PROCESS_DUMPED, SIGUSR1));
        ck_assert(!restart_policy_is_success(&config, PROCESS_UNKNOWN, 0));
        config.start.ignore_failure = true; /* ExecStart=-program */
        ck_assert(restart_policy_is_success(&config, PROCESS_EXITED, 142));
        ck_assert(restart_policy_is_success(&config, PROCESS_DUMPED, SIGSEGV));
        config.start.ignore_failure = false;
        ck_assert(!restart_policy_wants(&config, END_BY_ITSELF, PROCESS_EXITED, 255));
        ck_assert(restart_policy_wants(&config, END_BY_ITSELF, PROCESS_EXITED, 254));
        ck_assert(!restart_policy_wants(&config, END_BY_TIMEOUT, PROCESS_KILLED, SIGKILL));
}
END_TEST

START_TEST(a_restart_is_forced_by_how_it_ended_unless_that_is_prevented) {
        static const enum end_cause causes[] = {END_BY_ITSELF, END_BY_TIMEOUT, END_BY_WATCHDOG};
        struct component_config config = component_defaults();

        config.restart = NO;
        config.force_restart.status[0] |= 1U | 1U << 3;
        config.force_restart.status[133 / 8] |= 1U << (133 % 8);
        config.force_restart.signals = SIGNAL_BIT(SIGTERM) | SIGNAL_BIT(SIGSEGV);
        for (size_t i = 0; i < sizeof(causes) / sizeof(*causes); i++) {
                ck_assert(restart_policy_wants(&config, causes[i], PROCESS_EXITED, 0));
                ck_assert(restart_policy_wants(&config, causes[i], PROCESS_EXITED, 133));
                ck_assert(!restart_policy_wants(&config, causes[i], PROCESS_EXITED, 132));
                ck_assert(restart_policy_wants(&config, causes[i], PROCESS_KILLED, SIGTERM));
                ck_assert(restart_policy_wants(&config, causes[i], PROCESS_DUMPED, SIGSEGV));
                ck_assert(!restart_policy_wants(&config, causes[i], PROCESS_KILLED, SIGKILL));
                ck_assert(!restart_policy_wants(&config, causes[i], PROCESS_UNKNOWN, 0));
        }
        config.no_restart.status[0] |= 1U << 3;
        ck_assert(!restart_policy_wants(&config, END_BY_ITSELF, PROCESS_EXITED, 3));
        ck_assert(restart_policy_wants(&config, END_BY_ITSELF, PROCESS_EXITED, 0));
}
END_TEST

START_TEST(the_delay_grows_in_steps_up_to_its_bound) {
        struct component_config config = component_defaults();
        struct restart_policy policy = {0};
        static const uint64_t expected[] = {1, 2, 4, 8, 16, 16, 16};

        config.restart_usec = SECOND;
        config.restart_steps = 4;
        config.restart_max_delay_usec = 16 * SECOND;
        for (int round = 0; round < 2; round++) {
                for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
                        uint64_t delay = restart_policy_delay_usec(&policy, &config);
                        ck_assert_uint_ge(delay + 1000, expected[i] * SECOND);
                        ck_assert_uint_le(delay, expected[i] * SECOND);
                        ck_assert(i < 4 || delay == 16 * SECOND);
                }
                restart_policy_reset(&policy);
        }
}
END_TEST

START_TEST(without_steps_the_delay_stays) {
        struct component_config config = component_defaults();
        struct restart_policy policy = {0};

        config.restart_usec = 100000;
        config.restart_max_delay_usec = USEC_INFINITY;
        for (int i = 0; i < 3; i++)
                ck_assert_uint_eq(restart_policy_delay_usec(&policy, &config), 100000);
        config.restart_steps = 3; /* without a bound, or with one below, it has nowhere to go */
        for (int i = 0; i < 5; i++)
                ck_assert_uint_eq(restart_policy_delay_usec(&policy, &config), 100000);
        config.restart_max_delay_usec = 1000;
        ck_assert_uint_eq(restart_policy_delay_usec(&policy, &config), 100000);
        config.restart_usec = 0;
        config.restart_max_delay_usec = SECOND;
        ck_assert_uint_eq(restart_policy_delay_usec(&policy, &config), 0);
}
END_TEST

START_TEST(starts_and_triggers_are_counted_apart) {
        struct component_config config = component_defaults();
        struct restart_policy policy = {0};
        uint64_t now = 5000 * SECOND;

        config.start_limit_interval_usec = 10 * SECOND;
        config.start_limit_burst = 3;
        config.trigger_limit_interval_usec = 2 * SECOND;
        config.trigger_limit_burst = 1;
        for (int i = 0; i < 3; i++)
                ck_assert(restart_policy_may_start(&policy, &config, now));
        ck_assert(!restart_policy_may_start(&policy, &config, now + 9 * SECOND));
        ck_assert(restart_policy_may_trigger(&policy, &config, now));
        ck_assert(!restart_policy_may_trigger(&policy, &config, now + SECOND));
        ck_assert(restart_policy_may_trigger(&policy, &config, now + 2 * SECOND));
        ck_assert(restart_policy_may_start(&policy, &config, now + 10 * SECOND));
        config.start_limit_interval_usec = 0;
        for (int i = 0; i < 100; i++)
                ck_assert(restart_policy_may_start(&policy, &config, now));
}
END_TEST

SUITE("restart_policy", {
        TEST(restart_goes_by_how_it_ended);
        TEST(success_and_prevention_are_as_configured);
        TEST(a_restart_is_forced_by_how_it_ended_unless_that_is_prevented);
        TEST(the_delay_grows_in_steps_up_to_its_bound);
        TEST(without_steps_the_delay_stays);
        TEST(starts_and_triggers_are_counted_apart);
})
