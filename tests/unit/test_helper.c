/* Disposable children: their result arrives, a hanging one is killed, a cancelled one is silent. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/helper.h"
#include "support.h"

struct result {
        struct loop *loop;
        int calls;
        size_t size;
        char text[HELPER_RESULT_MAX + 1];
};

static void keep(void *owner, const char *text, size_t size) {
        struct result *r = owner;

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

static void run(struct result *r, uint64_t deadline, void (*work)(void *, int), const char *text) {
        struct helper h = {0};

        memset(r, 0, sizeof(*r));
        ck_assert_int_eq(loop_new(&r->loop), 0);
        ck_assert_int_eq(
                helper_start(&h, r->loop, deadline, work, (void *) (uintptr_t) text, keep, r), 0);
        loop_run(r->loop);
        loop_run_once(r->loop, true); /* collects the child */
        loop_free(r->loop);
        ck_assert_int_eq(r->calls, 1);
        ck_assert_int_lt(waitpid(-1, NULL, WNOHANG), 0);
        ck_assert_int_eq(errno, ECHILD);
}

START_TEST(its_result_arrives) {
        struct result r;

        run(&r, 60000000, say, "found it");
        ck_assert_str_eq(r.text, "found it");
        run(&r, 60000000, say, "");
        ck_assert_uint_eq(r.size, 0);
}
END_TEST

START_TEST(a_long_result_is_cut_and_does_not_hang_the_child) {
        struct result r;

        run(&r, 60000000, say_much, NULL);
        ck_assert_uint_eq(r.size, HELPER_RESULT_MAX);
}
END_TEST

START_TEST(a_hanging_child_is_killed_at_its_deadline) {
        struct result r;

        run(&r, 1000000, say_and_hang, "so far"); /* time enough to say it */
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
        run(&r, 60000000, say_mask, NULL);
        ck_assert_str_eq(r.text, "yy");
}
END_TEST

START_TEST(a_cancelled_helper_says_nothing) {
        struct helper h = {0};
        struct result r = {0};
        char x[] = "x";

        ck_assert_int_eq(loop_new(&r.loop), 0);
        helper_cancel(&h); /* never started */
        ck_assert_int_eq(helper_start(&h, r.loop, 60000000, say_and_hang, x, keep, &r), 0);
        helper_cancel(&h);
        helper_cancel(&h);
        loop_run_once(r.loop, true);
        ck_assert_int_eq(r.calls, 0);
        ck_assert_int_lt(waitpid(-1, NULL, WNOHANG), 0);
        loop_free(r.loop);
}
END_TEST

SUITE("helper", {
        TEST(its_result_arrives);
        TEST(a_long_result_is_cut_and_does_not_hang_the_child);
        TEST(a_hanging_child_is_killed_at_its_deadline);
        TEST(a_child_has_default_signals);
        TEST(a_cancelled_helper_says_nothing);
})
