/* The log never blocks, cannot be forged by what peers say, and counts what it drops. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/log.h"
#include "support.h"

/* Run with stderr replaced by `fd`, and put the old one back. */
static int stderr_replaced(int fd) {
        int old = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

        ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
        return old;
}

static void stderr_restore(int old) {
        ck_assert_int_ge(dup2(old, STDERR_FILENO), 0);
        close_fd(old);
}

static size_t drain(int fd, char *buffer, size_t size) {
        size_t have = 0;
        ssize_t n;

        while ((n = read(fd, buffer + have, size - 1 - have)) > 0)
                have += (size_t) n;
        buffer[have] = '\0';
        return have;
}

START_TEST(a_line_names_program_and_level_and_is_one_line) {
        char text[4096];
        struct log *log;
        int ends[2], old;

        ck_assert_int_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        old = stderr_replaced(ends[1]);
        ck_assert_int_eq(log_new(&log, "unit", LOG_TARGET_STDERR, LEVEL_INFO), 0);
        errno = EXDEV;
        log_warning(log, NULL, "status %s", "two\nunit: error: forged\033[2J");
        log_debug(log, NULL, "not shown");
        ck_assert_int_eq(errno, EXDEV);
        log_free(log);
        stderr_restore(old);
        drain(ends[0], text, sizeof(text));
        ck_assert_str_eq(text, "unit: warning: status two unit: error: forged [2J\n");
        close_fd(ends[0]);
        close_fd(ends[1]);
}
END_TEST

/* In a UTF-8 terminal U+009B begins a sequence as ESC [ does, and 0x9b in one of eight bits. */
START_TEST(what_steers_a_terminal_is_taken_out_of_text_that_others_wrote) {
        char text[4096];
        struct log *log;
        int ends[2], old;

        ck_assert_int_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        old = stderr_replaced(ends[1]);
        ck_assert_int_eq(log_new(&log, "unit", LOG_TARGET_STDERR, LEVEL_INFO), 0);
        log_pass_on(log, LEVEL_INFO, "",
                    "a\xc2\x9b"
                    "31mb\x9b"
                    "31mc\xe2\x80\xae"
                    "d");
        log_pass_on(log, LEVEL_INFO, "", "\xe2\x81\xa7\xd8\x9c\xed\xa0\x80\xe2\x82");
        log_pass_on(log, LEVEL_INFO, "", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
        log_free(log);
        stderr_restore(old);
        drain(ends[0], text, sizeof(text));
        ck_assert_str_eq(text, "a  31mb?31mc   d\n"
                               "     ?????\n"
                               "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80\n");
        close_fd(ends[0]);
        close_fd(ends[1]);
}
END_TEST

START_TEST(a_full_pipe_drops_lines_and_tells_how_many) {
        static char text[1 << 20];
        int ends[2], old, lines = 0;
        struct log *log;

        /* The inherited description is a blocking one, and has to stay so. */
        ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
        old = stderr_replaced(ends[1]);
        ck_assert_int_eq(log_new(&log, "unit", LOG_TARGET_STDERR, LEVEL_INFO), 0);
        for (int i = 0; i < 5000; i++)
                log_info(log, NULL, "a line that is not read by anybody, number %d", i);
        ck_assert(!(fcntl(ends[1], F_GETFL) & O_NONBLOCK));
        ck_assert_int_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
        drain(ends[0], text, sizeof(text));
        for (char *p = text; (p = strchr(p, '\n')); p++)
                lines++;
        ck_assert_int_lt(lines, 5000);
        log_info(log, NULL, "after");
        stderr_restore(old);
        log_free(log);
        drain(ends[0], text, sizeof(text));
        char expected[128];
        (void) snprintf(expected, sizeof(expected),
                        "unit: warning: %d log lines could not be written\nunit: info: after\n",
                        5000 - lines);
        ck_assert_str_eq(text, expected);
        close_fd(ends[0]);
        close_fd(ends[1]);
}
END_TEST

START_TEST(a_full_socket_does_not_block_either) {
        int ends[2], old;
        struct log *log;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        old = stderr_replaced(ends[1]);
        ck_assert_int_eq(log_new(&log, "unit", LOG_TARGET_AUTO, LEVEL_INFO), 0);
        for (int i = 0; i < 20000; i++)
                log_info(log, NULL, "a line that is not read by anybody, number %d", i);
        stderr_restore(old);
        log_free(log);
        close_fd(ends[0]);
        close_fd(ends[1]);
}
END_TEST

START_TEST(levels_have_names_both_ways) {
        enum log_level level;

        for (int l = LEVEL_ERROR; l <= LEVEL_DEBUG; l++) {
                ck_assert_int_eq(log_level_from_name(log_level_name((enum log_level) l), &level),
                                 0);
                ck_assert_int_eq((int) level, l);
        }
        ck_assert_int_eq(log_level_from_name("loud", &level), -EINVAL);
}
END_TEST

START_TEST(a_rate_limit_holds_back_and_counts) {
        struct rate_limit r = {.interval_usec = 1000, .burst = 2};
        unsigned suppressed = 9;

        ck_assert(rate_limit_pass(&r, 5000, &suppressed));
        ck_assert_uint_eq(suppressed, 0);
        ck_assert(rate_limit_pass(&r, 5001, &suppressed));
        ck_assert(!rate_limit_pass(&r, 5002, &suppressed));
        ck_assert(!rate_limit_pass(&r, 5999, &suppressed));
        ck_assert(rate_limit_pass(&r, 6000, &suppressed));
        ck_assert_uint_eq(suppressed, 2);
        ck_assert(rate_limit_pass(&r, 6001, &suppressed));
        ck_assert_uint_eq(suppressed, 0);
}
END_TEST

SUITE("log", {
        TEST(a_line_names_program_and_level_and_is_one_line);
        TEST(what_steers_a_terminal_is_taken_out_of_text_that_others_wrote);
        TEST(a_full_pipe_drops_lines_and_tells_how_many);
        TEST(a_full_socket_does_not_block_either);
        TEST(levels_have_names_both_ways);
        TEST(a_rate_limit_holds_back_and_counts);
})
