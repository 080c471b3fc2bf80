/* What passes an exec in place: all that was named, nothing else, and nothing after a failure. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cleanup.h"
#include "keeper/handover.h"
#include "support.h"

/* As if we had just been executed. */
static void set_list(int fd) {
        char number[16];

        (void) snprintf(number, sizeof(number), "%d", fd);
        ck_assert_int_eq(setenv(HANDOVER_ENV, number, 1), 0);
}

static int flags(int fd) {
        return fcntl(fd, F_GETFD);
}

static struct handover *passed(int first, int second) {
        struct handover *h;

        ck_assert_int_eq(handover_new(&h), 0);
        ck_assert_int_eq(handover_add(h, "state", first), 0);
        ck_assert_int_eq(handover_add(h, "a name", second), 0);
        ck_assert_int_eq(flags(first), FD_CLOEXEC);
        ck_assert_int_eq(handover_pass(h), 0);
        return h;
}

START_TEST(what_was_added_passes_and_is_taken) {
        int a = memfd_create("a", MFD_CLOEXEC), b = memfd_create("b", MFD_CLOEXEC);
        struct handover *h = passed(a, b);
        struct inherited *inherited;
        int list = atoi(getenv(HANDOVER_ENV));

        ck_assert_int_eq(flags(a), 0);
        ck_assert_int_eq(flags(b), 0);
        ck_assert_int_eq(flags(list), 0);
        set_list(dup(list));
        ck_assert_int_eq(inherited_new(&inherited), 0);
        ck_assert_int_eq(handover_take(inherited), 1);
        ck_assert_ptr_null(getenv(HANDOVER_ENV));
        ck_assert_uint_eq(inherited_count(inherited), 2);
        ck_assert_str_eq(inherited_name(inherited, 1), "a name");
        ck_assert_int_eq(inherited_peek_fd(inherited, 1), b);
        ck_assert_int_eq(flags(a), FD_CLOEXEC);
        ck_assert_int_eq(flags(b), FD_CLOEXEC);
        ck_assert_int_eq(handover_take(inherited), 0); /* once */
        inherited_free(inherited);
        handover_free(h);
}
END_TEST

START_TEST(a_failed_exec_leaves_nothing_behind) {
        int a = memfd_create("a", MFD_CLOEXEC), b = memfd_create("b", MFD_CLOEXEC);
        struct handover *h = passed(a, b);

        handover_undo(h);
        ck_assert_int_eq(flags(a), FD_CLOEXEC);
        ck_assert_int_eq(flags(b), FD_CLOEXEC);
        ck_assert_ptr_null(getenv(HANDOVER_ENV));
        handover_free(h);
        close_fd(a);
        close_fd(b);
}
END_TEST

START_TEST(a_closed_descriptor_stops_it_and_the_others_do_not_pass) {
        int a = memfd_create("a", MFD_CLOEXEC), b = fcntl(a, F_DUPFD_CLOEXEC, 500);
        struct handover *h;

        ck_assert_int_eq(handover_new(&h), 0);
        ck_assert_int_eq(handover_add(h, "a", a), 0);
        ck_assert_int_eq(handover_add(h, "b", b), 0);
        close_fd(b);
        ck_assert_int_eq(handover_pass(h), -EBADF);
        ck_assert_int_eq(flags(a), FD_CLOEXEC);
        ck_assert_ptr_null(getenv(HANDOVER_ENV));
        handover_free(h);
        close_fd(a);
}
END_TEST

START_TEST(nonsense_in_the_list_is_an_error_and_the_rest_is_taken) {
        static const char *const lists[] = {"x\n", "1 stdout\n", "99999999999 big\n", "-1 no\n"};
        struct inherited *inherited;

        for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
                int fd = memfd_create("list", MFD_CLOEXEC), a = memfd_create("a", 0);
                char text[64];

                (void) snprintf(text, sizeof(text), "%s%d good\n", lists[i], a);
                ck_assert_int_gt((int) write(fd, text, strlen(text)), 0);
                set_list(fd);
                ck_assert_int_eq(inherited_new(&inherited), 0);
                ck_assert_int_eq(handover_take(inherited), -EBADMSG);
                ck_assert_uint_eq(inherited_count(inherited), 1);
                ck_assert_int_eq(flags(a), FD_CLOEXEC);
                inherited_free(inherited);
        }
}
END_TEST

SUITE("handover", {
        TEST(what_was_added_passes_and_is_taken);
        TEST(a_failed_exec_leaves_nothing_behind);
        TEST(a_closed_descriptor_stops_it_and_the_others_do_not_pass);
        TEST(nonsense_in_the_list_is_an_error_and_the_rest_is_taken);
})
