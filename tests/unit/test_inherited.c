/* What was given to us at start: claimed once, the rest closed with the collection. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/inherited.h"
#include "support.h"

static int some_fd(void) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        return fd;
}

START_TEST(a_claimed_descriptor_is_the_callers_and_the_rest_is_closed) {
        struct inherited *all;
        int taken;

        ck_assert_int_eq(inherited_new(&all), 0);
        for (int i = 0; i < 40; i++) {
                char name[16];
                (void) snprintf(name, sizeof(name), "n%d", i);
                ck_assert_int_eq(inherited_put_fd(all, name, some_fd()), 0);
        }
        ck_assert_uint_eq(inherited_count(all), 40);
        taken = inherited_take_fd(all, 7);
        ck_assert_str_eq(inherited_name(all, 7), "n8");
        ck_assert_str_eq(inherited_name(all, 38), "n39");
        ck_assert_uint_eq(inherited_count(all), 39);
        inherited_free(all);
        ck_assert_int_ge(fcntl(taken, F_GETFD), 0);
        close_fd(taken);
}
END_TEST

START_TEST(one_is_taken_by_its_name_and_an_empty_collection_takes_new_ones) {
        struct inherited *all;
        int first = some_fd(), second = some_fd();

        ck_assert_int_eq(inherited_new(&all), 0);
        for (int round = 0; round < 2; round++) {
                ck_assert_int_eq(inherited_put_fd(all, "web", first), 0);
                ck_assert_int_eq(inherited_put_fd(all, "api", second), 0);
                ck_assert_int_eq(inherited_take_named(all, "we"), -1);
                ck_assert_int_eq(inherited_take_named(all, "web"), first);
                ck_assert_int_eq(inherited_take_named(all, "web"), -1);
                ck_assert_int_eq(inherited_take_named(all, "api"), second);
                ck_assert_uint_eq(inherited_count(all), 0);
        }
        inherited_free(all);
        close_fd(first);
        close_fd(second);
}
END_TEST

/* In a child: descriptors 3 and up have to be what the variables promise. */
static int in_child(int (*body)(void)) {
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                char number[16];
                for (int fd = 3; fd < 5; fd++)
                        if (dup2(STDIN_FILENO, fd) < 0)
                                _exit(99);
                (void) snprintf(number, sizeof(number), "%d", (int) getpid());
                (void) setenv("LISTEN_PID", number, 1);
                (void) setenv("LISTEN_FDS", "2", 1);
                (void) setenv("LISTEN_FDNAMES", "web:", 1);
                _exit(body());
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int take_both(void) {
        struct inherited *all;

        if (inherited_from_environment(&all, NULL) < 0)
                return 1;
        if (inherited_count(all) != 2 || strcmp(inherited_name(all, 0), "web") != 0 ||
            strcmp(inherited_name(all, 1), "") != 0 || inherited_peek_fd(all, 0) != 3)
                return 2;
        if (getenv("LISTEN_FDS") || getenv("LISTEN_PID") || getenv("LISTEN_FDNAMES"))
                return 3;
        if (!(fcntl(3, F_GETFD) & FD_CLOEXEC))
                return 4;
        inherited_free(all);
        return fcntl(3, F_GETFD) < 0 ? 0 : 5;
}

static int take_malformed(void) {
        struct inherited *all = NULL;

        (void) setenv("LISTEN_FDS", "two", 1);
        return inherited_from_environment(&all, NULL) < 0 && !all ? 0 : 1;
}

static int take_of_another_process(void) {
        struct inherited *all;

        (void) setenv("LISTEN_PID", "1", 1);
        if (inherited_from_environment(&all, NULL) < 0 || inherited_count(all) != 0)
                return 1;
        inherited_free(all);
        return 0;
}

START_TEST(what_systemd_passes_is_taken_with_its_names) {
        ck_assert_int_eq(in_child(take_both), 0);
}
END_TEST

START_TEST(malformed_variables_are_an_error) {
        ck_assert_int_eq(in_child(take_malformed), 0);
}
END_TEST

START_TEST(what_was_meant_for_another_process_is_left) {
        ck_assert_int_eq(in_child(take_of_another_process), 0);
}
END_TEST

SUITE("inherited", {
        TEST(a_claimed_descriptor_is_the_callers_and_the_rest_is_closed);
        TEST(one_is_taken_by_its_name_and_an_empty_collection_takes_new_ones);
        TEST(what_systemd_passes_is_taken_with_its_names);
        TEST(malformed_variables_are_an_error);
        TEST(what_was_meant_for_another_process_is_left);
})
