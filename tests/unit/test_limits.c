/* Limits fit under RLIMIT_NOFILE, and what is lowered is said. */
#include <string.h>
#include <sys/resource.h>

#include "core/limits.h"
#include "core/log.h"
#include "support.h"

static void count_line(void *owner, enum log_level level, const char *text) {
        ck_assert_int_eq((int) level, LEVEL_WARNING);
        ck_assert_ptr_nonnull(strstr(text, "RLIMIT_NOFILE is 1024"));
        (*(int *) owner)++;
}

START_TEST(limits_are_lowered_to_fit_and_that_is_logged) {
        struct rlimit r = {.rlim_cur = 256, .rlim_max = 1024};
        struct limits limits;
        struct log *log;
        int lines = 0;

        if (SKIPPED_UNDER_VALGRIND(VALGRIND_KEEPS_LIMITS))
                return;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &r), 0);
        ck_assert_int_eq(log_new(&log, "unit", LOG_TARGET_NONE, LEVEL_INFO), 0);
        log_set_sink(log, count_line, &lines);
        limits_default(&limits);
        limits_fit(&limits, log);
        ck_assert_int_eq(lines, 0); /* nobody had asked for so much */
        limits.listeners = 50000;
        limits_fit(&limits, log);
        log_free(log);
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &r), 0);
        ck_assert_uint_eq(r.rlim_cur, 1024);
        ck_assert_uint_eq(limits.listeners, (1024 - LIMITS_RESERVE) * 3 / 4);
        ck_assert_uint_le(limits.sessions_per_user, limits.sessions);
        ck_assert_uint_le(limits.fds_in_flight, 1024 - LIMITS_RESERVE);
        ck_assert_int_eq(lines, 1);
}
END_TEST

START_TEST(what_fits_is_left_alone) {
        struct limits limits = {.listeners = 10, .sessions = 10, .sessions_per_user = 5},
                      before = limits;
        struct rlimit r = {.rlim_cur = 1024, .rlim_max = 1024};

        if (SKIPPED_UNDER_VALGRIND(VALGRIND_KEEPS_LIMITS))
                return;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &r), 0);
        limits_fit(&limits, NULL);
        ck_assert_mem_eq(&limits, &before, sizeof(limits));
}
END_TEST

SUITE("limits", {
        TEST(limits_are_lowered_to_fit_and_that_is_logged);
        TEST(what_fits_is_left_alone);
})
