/* Descriptors land on 3, 4, ... whatever they overlap with, and nothing else leaks through exec. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli/descriptors.h"
#include "support.h"

#define MANY 8

/*
 * Every test is a process of its own, so it may rearrange its descriptors; but Check's own pipes
 * are among them. Those that we want to use must be free: take them from this number on and check
 * placing with a start that is fixed by the interface, 3, in a child that has closed all others.
 */
static void in_child(void (*body)(void)) {
        pid_t pid = fork();
        int status;

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                for (int fd = 3; fd < 100; fd++)
                        (void) close(fd);
                body();
                _exit(0);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                      "the child failed at its check %d", WEXITSTATUS(status));
}

#define CHECK(number, condition)                                                                   \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        _exit(number);                                                             \
        } while (0)

/* A file of its own at exactly this number; its inode tells it from others. */
static ino_t file_at(int fd) {
        FILE *file = tmpfile();
        struct stat st;

        CHECK(90, file && fstat(fileno(file), &st) == 0);
        if (fileno(file) != fd) {
                CHECK(91, dup3(fileno(file), fd, O_CLOEXEC) == fd);
                (void) fclose(file);
        }
        return st.st_ino;
}

static ino_t inode_of(int fd) {
        struct stat st;

        return fstat(fd, &st) < 0 ? 0 : st.st_ino;
}

static unsigned count_open(void) {
        unsigned n = 0;

        for (int fd = 3; fd < 100; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

/* Files at these numbers, in this order, must end at 3, 4, ... */
static void place_and_compare(const int *numbers, size_t count) {
        ino_t inodes[MANY];
        int fds[MANY];
        size_t replaced = 99;

        /* from a high number, so that making one does not need another's place */
        for (size_t i = 0; i < count; i++)
                inodes[i] = file_at(60 + (int) i);
        for (size_t i = 0; i < count; i++) {
                CHECK(1, dup3(60 + (int) i, numbers[i], O_CLOEXEC) == numbers[i]);
                (void) close(60 + (int) i);
                fds[i] = numbers[i];
        }
        CHECK(2, descriptors_place(fds, count, &replaced) == 0);
        CHECK(3, replaced == 0);
        for (size_t i = 0; i < count; i++) {
                CHECK(4, fds[i] == 3 + (int) i);
                CHECK(5, inode_of(fds[i]) == inodes[i]);
                CHECK(6, fcntl(fds[i], F_GETFD) == 0);
        }
        CHECK(7, count_open() == count);
}

static void already_there(void) {
        place_and_compare((const int[]){3, 4, 5}, 3);
}
static void one_too_high(void) {
        place_and_compare((const int[]){4, 5, 6}, 3);
}
static void reversed(void) {
        place_and_compare((const int[]){6, 5, 4, 3}, 4);
}
static void in_a_circle(void) {
        place_and_compare((const int[]){4, 5, 6, 7, 3}, 5);
}
static void far_away(void) {
        place_and_compare((const int[]){50, 3, 40, 30}, 4);
}
static void swapped_with_one_in_place(void) {
        place_and_compare((const int[]){5, 4, 3}, 3);
}

START_TEST(overlapping_descriptors_do_not_clobber_each_other) {
        void (*const bodies[])(void) = {already_there, one_too_high, reversed,
                                        in_a_circle,   far_away,     swapped_with_one_in_place};

        for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
                in_child(bodies[i]);
}
END_TEST

static void foreign_in_the_way(void) {
        ino_t foreign = file_at(3), ours = file_at(10);
        int fds[1] = {10};
        size_t replaced = 0;

        CHECK(1, foreign != ours);
        CHECK(2, descriptors_place(fds, 1, &replaced) == 0);
        CHECK(3, replaced == 1);
        CHECK(4, inode_of(3) == ours);
}

START_TEST(what_was_in_the_way_is_counted) {
        in_child(foreign_in_the_way);
}
END_TEST

static void too_few_descriptors(void) {
        struct rlimit limit = {4, 4};
        int fds[2];
        size_t replaced = 77;

        (void) file_at(3);
        (void) file_at(4);
        fds[0] = 4;
        fds[1] = 3;
        CHECK(1, setrlimit(RLIMIT_NOFILE, &limit) == 0);
        CHECK(2, descriptors_place(fds, 2, &replaced) == -EMFILE);
        CHECK(3, replaced == 77);
        CHECK(4, fcntl(fds[0], F_GETFD) >= 0 && fcntl(fds[1], F_GETFD) >= 0);
}

START_TEST(a_low_limit_is_an_error_and_loses_nothing) {
        if (SKIPPED_UNDER_VALGRIND(VALGRIND_KEEPS_LIMITS))
                return;
        in_child(too_few_descriptors);
}
END_TEST

static void standard_ones_closed(void) {
        char byte = 0;

        (void) close(0);
        (void) close(2);
        descriptors_reserve_standard();
        CHECK(1, fcntl(0, F_GETFD) == FD_CLOEXEC && fcntl(2, F_GETFD) == FD_CLOEXEC);
        CHECK(2, fcntl(1, F_GETFD) == 0);
        CHECK(3, write(2, &byte, 1) < 0 && errno == EBADF);
        CHECK(4, read(0, &byte, 1) < 0 && errno == EBADF);
        CHECK(5, count_open() == 0);
}

START_TEST(closed_standard_descriptors_are_kept_from_others) {
        in_child(standard_ones_closed);
}
END_TEST

SUITE("cli_descriptors", {
        TEST(overlapping_descriptors_do_not_clobber_each_other);
        TEST(what_was_in_the_way_is_counted);
        TEST(a_low_limit_is_an_error_and_loses_nothing);
        TEST(closed_standard_descriptors_are_kept_from_others);
})
