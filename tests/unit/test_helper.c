/* Disposable children: their result arrives, a hanging one is killed, a stopped one is silent. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/helper.h"
#include "support.h"

#define LONG_USEC 60000000

struct result {
        struct loop *loop;
        struct helper *helper;
        int calls;
        size_t size;
        char text[CHILD_RESULT_MAX + 1];
};

static void keep(void *owner, const char *text, size_t size) {
        struct result *r = owner;

        r->helper = NULL;
        r->calls++;
        r->size = size;
        memcpy(r->text, text, size + 1);
        loop_stop(r->loop);
}

static void say(void *argument, int result_fd) {
        (void) !write(result_fd, argument, strlen(argument));
}

static void say_much(void *argument, int result_fd) {
        char block[1000];

        memset(block, 'x', sizeof(block));
        for (int i = 0; i < 200; i++)
                (void) !write(result_fd, block, sizeof(block));
}

static void say_and_hang(void *argument, int result_fd) {
        say(argument, result_fd);
        for (;;)
                pause();
}

static void say_mask(void *argument, int result_fd) {
        sigset_t set;
        char yes = 'y', no = 'n';
        struct sigaction old;

        sigprocmask(SIG_BLOCK, NULL, &set);
        sigaction(SIGPIPE, NULL, &old);
        (void) !write(result_fd, sigismember(&set, SIGTERM) ? &no : &yes, 1);
        (void) !write(result_fd, old.sa_handler == SIG_DFL ? &yes : &no, 1);
}

static void keep_and_start(void *owner, const char *text, size_t size) {
        struct result *r = owner;
        char next[] = "next";

        r->helper = NULL;
        ck_assert_int_eq(helper_start(&r->helper, r->loop, LONG_USEC, say, next, keep, r), 0);
        ck_assert_str_eq(text, "first"); /* of the one before, still */
}

static void set_up(struct result *r) {
        memset(r, 0, sizeof(*r));
        ck_assert_int_eq(loop_new(&r->loop), 0);
}

/* Nothing is left: no child, and no zombie. */
static void tear_down(struct result *r) {
        while (waitid(P_ALL, 0, &(siginfo_t){0}, WEXITED | WNOHANG | WNOWAIT) == 0)
                loop_run_once(r->loop, true);
        ck_assert_int_eq(errno, ECHILD);
        ck_assert_ptr_null(r->helper);
        loop_free(r->loop);
}

static int start(struct result *r, uint64_t deadline, void (*work)(void *, int), const char *text) {
        return helper_start(&r->helper, r->loop, deadline, work, (void *) (uintptr_t) text, keep,
                            r);
}

static void begin(struct result *r, uint64_t deadline, void (*work)(void *, int),
                  const char *text) {
        set_up(r);
        ck_assert_int_eq(start(r, deadline, work, text), 0);
}

static void run(struct result *r, uint64_t deadline, void (*work)(void *, int), const char *text) {
        begin(r, deadline, work, text);
        loop_run(r->loop);
        ck_assert_int_eq(r->calls, 1);
        tear_down(r);
}

START_TEST(its_result_arrives) {
        struct result r;

        run(&r, LONG_USEC, say, "found it");
        ck_assert_str_eq(r.text, "found it");
        run(&r, LONG_USEC, say, "");
        ck_assert_uint_eq(r.size, 0);
}
END_TEST

START_TEST(a_long_result_is_cut_and_does_not_hang_the_child) {
        struct result r;

        run(&r, LONG_USEC, say_much, NULL);
        ck_assert_uint_eq(r.size, CHILD_RESULT_MAX);
}
END_TEST

/* On a busy machine it is killed before it has said anything: then it gets twice the time. */
START_TEST(a_hanging_child_is_killed_at_its_deadline) {
        struct result r = {.size = 0};

        for (uint64_t usec = 50000; r.size == 0 && usec < 10000000; usec *= 2)
                run(&r, usec, say_and_hang, "so far");
        ck_assert_str_eq(r.text, "so far");
}
END_TEST

START_TEST(a_child_has_default_signals) {
        struct result r;
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL);
        signal(SIGPIPE, SIG_IGN);
        run(&r, LONG_USEC, say_mask, NULL);
        ck_assert_str_eq(r.text, "yy");
}
END_TEST

START_TEST(a_stopped_helper_is_silent) {
        struct result r;

        begin(&r, LONG_USEC, say_and_hang, "x");
        r.helper = helper_stop(r.helper);
        ck_assert_ptr_null(helper_stop(r.helper));
        ck_assert_int_eq(r.calls, 0);
        tear_down(&r);
}
END_TEST

START_TEST(one_is_not_forgotten_for_another) {
        struct helper *first;
        struct result r;

        begin(&r, LONG_USEC, say, "first");
        first = r.helper;
        ck_assert_int_eq(start(&r, LONG_USEC, say, "second"), -EBUSY);
        ck_assert_ptr_eq(r.helper, first);
        loop_run(r.loop);
        ck_assert_str_eq(r.text, "first");
        tear_down(&r);
}
END_TEST

START_TEST(the_end_of_one_may_start_another) {
        struct result r;
        char first[] = "first";

        set_up(&r);
        ck_assert_int_eq(helper_start(&r.helper, r.loop, LONG_USEC, say, first, keep_and_start, &r),
                         0);
        loop_run(r.loop);
        ck_assert_int_eq(r.calls, 1);
        ck_assert_str_eq(r.text, "next");
        tear_down(&r);
}
END_TEST

START_TEST(its_argument_need_not_outlive_the_start) {
        struct result r;
        char text[] = "then";

        begin(&r, LONG_USEC, say, text);
        memcpy(text, "now!", 4);
        loop_run(r.loop);
        ck_assert_str_eq(r.text, "then");
        tear_down(&r);
}
END_TEST

/* It takes two for the pipe and one for the child. */
START_TEST(without_descriptors_there_is_no_child) {
        struct rlimit before, few;
        int fd, n = 0, taken[64];
        struct result r;

        if (SKIPPED_UNDER_VALGRIND(VALGRIND_KEEPS_LIMITS))
                return;
        set_up(&r);
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
        few = (struct rlimit){64, before.rlim_max};
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
        while ((fd = dup(STDOUT_FILENO)) >= 0)
                taken[n++] = fd;
        for (int room = 0; room < 3; room++) {
                ck_assert_int_eq(start(&r, LONG_USEC, say_and_hang, "x"), -EMFILE);
                ck_assert_ptr_null(r.helper);
                ck_assert_int_lt(waitpid(-1, NULL, WNOHANG), 0);
                close(taken[--n]);
        }
        ck_assert_int_eq(start(&r, LONG_USEC, say, "x"), 0);
        loop_run(r.loop);
        ck_assert_str_eq(r.text, "x");
        while (n > 0)
                close(taken[--n]);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        tear_down(&r);
}
END_TEST

START_TEST(a_result_is_whole_or_none) {
        const struct pair { int a, b; } sent = {1, 2};
        struct pair got = {3, 4};
        const char *bytes = (const char *) &sent;

        ck_assert(!child_result_read(bytes, sizeof(sent) - 1, &got, sizeof(got)));
        ck_assert(!child_result_read(bytes, 0, &got, sizeof(got)));
        ck_assert_int_eq(got.a, 3);
        ck_assert(child_result_read(bytes, sizeof(sent), &got, sizeof(got)));
        ck_assert_int_eq(got.a, 1);
        ck_assert_int_eq(got.b, 2);
}
END_TEST

SUITE("helper", {
        TEST(its_result_arrives);
        TEST(a_long_result_is_cut_and_does_not_hang_the_child);
        TEST(a_hanging_child_is_killed_at_its_deadline);
        TEST(a_child_has_default_signals);
        TEST(a_stopped_helper_is_silent);
        TEST(one_is_not_forgotten_for_another);
        TEST(the_end_of_one_may_start_another);
        TEST(its_argument_need_not_outlive_the_start);
        TEST(without_descriptors_there_is_no_child);
        TEST(a_result_is_whole_or_none);
})
