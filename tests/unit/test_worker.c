/* Kept children: one errand after another, several at once, death, deadline, and what they hold. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/worker.h"
#include "support.h"
#include "tree_support.h"

#define LONG_USEC 60000000

static struct loop *loop;
static struct worker_pool pool;

struct asked {
        struct worker *worker;
        int calls;
        size_t size;
        char text[CHILD_RESULT_MAX + 1];
};

static void set_up(void) {
        ck_assert_int_eq(loop_new(&loop), 0);
        worker_pool_init(&pool, loop);
}

static bool has_child(void) {
        return waitid(P_ALL, 0, &(siginfo_t){0}, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* Nothing is left: no child, and no zombie. */
static void tear_down(void) {
        worker_pool_clear(&pool);
        RUN_UNTIL(loop, !has_child());
        loop_free(loop);
}

static void keep(void *owner, const char *result, size_t size) {
        struct asked *a = owner;

        a->worker = NULL;
        a->calls++;
        a->size = size;
        memcpy(a->text, result, size + 1);
}

static int start(struct asked *a, void (*work)(const void *, int, int), const char *text, int fd,
                 uint64_t deadline_usec) {
        struct errand errand = {work, text, strlen(text) + 1, fd};

        memset(a, 0, sizeof(*a));
        return worker_start(&a->worker, &pool, &errand, deadline_usec, keep, a);
}

static const char *ask(struct asked *a, void (*work)(const void *, int, int), const char *text,
                       int fd) {
        ck_assert_int_eq(start(a, work, text, fd, LONG_USEC), 0);
        RUN_UNTIL(loop, a->calls > 0);
        ck_assert_int_eq(a->calls, 1);
        return a->text;
}

static void say(const void *request, int fd, int result_fd) {
        if (strlen(request) > 0)
                (void) !write(result_fd, request, strlen(request));
}

static void say_pid(const void *request, int fd, int result_fd) {
        pid_t pid = getpid();

        (void) !write(result_fd, &pid, sizeof(pid));
}

static void say_pid_and_hang(const void *request, int fd, int result_fd) {
        say_pid(request, fd, result_fd);
        for (;;)
                pause();
}

static void say_and_die(const void *request, int fd, int result_fd) {
        say(request, fd, result_fd);
        (void) kill(getpid(), SIGKILL);
}

static void say_twice(const void *request, int fd, int result_fd) {
        say(request, fd, result_fd);
        say(request, fd, result_fd);
}

static void say_much(const void *request, int fd, int result_fd) {
        char block[1000];

        memset(block, 'x', sizeof(block));
        for (int i = 0; i < 200; i++)
                (void) !write(result_fd, block, sizeof(block));
}

static void say_what_is_in(const void *request, int fd, int result_fd) {
        char text[16];
        ssize_t n = pread(fd, text, sizeof(text), 0);

        if (n > 0)
                (void) !write(result_fd, text, (size_t) n);
}

/* Of the descriptors of a test, 0 to 2 and the socket are left. */
static void say_descriptors(const void *request, int fd, int result_fd) {
        unsigned char count = 0;

        for (int i = 3; i < 200; i++)
                if (fcntl(i, F_GETFD) >= 0)
                        count++;
        (void) !write(result_fd, &count, 1);
}

static pid_t pid_of(const struct asked *a) {
        pid_t pid;

        ck_assert_uint_eq(a->size, sizeof(pid));
        memcpy(&pid, a->text, sizeof(pid));
        return pid;
}

static pid_t ask_pid(void) {
        struct asked a;

        ask(&a, say_pid, "", -1);
        return pid_of(&a);
}

START_TEST(one_child_does_one_errand_after_another) {
        struct asked a;
        pid_t first;

        set_up();
        first = ask_pid();
        ck_assert_int_ne(first, getpid());
        ck_assert_str_eq(ask(&a, say, "found", -1), "found");
        ck_assert_str_eq(ask(&a, say_twice, "ab", -1), "abab");
        ck_assert_str_eq(ask(&a, say, "", -1), "");
        ck_assert_int_eq(ask_pid(), first);
        tear_down();
}
END_TEST

START_TEST(it_ends_when_nobody_asks) {
        pid_t pid;

        set_up();
        pid = ask_pid();
        RUN_UNTIL(loop, kill(pid, 0) < 0);
        ck_assert_int_eq(errno, ESRCH);
        ck_assert_ptr_null(pool.spare);
        ck_assert_int_ne(ask_pid(), pid);
        tear_down();
}
END_TEST

START_TEST(several_work_at_once_and_one_is_kept) {
        struct asked a[3];
        int n = 0;

        set_up();
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(start(&a[i], say_pid, "", -1, LONG_USEC), 0);
        RUN_UNTIL(loop, a[0].calls + a[1].calls + a[2].calls == 3);
        ck_assert_int_ne(pid_of(&a[0]), pid_of(&a[1]));
        ck_assert_int_ne(pid_of(&a[1]), pid_of(&a[2]));
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(a[i].calls, 1);
        for (int i = 0; i < 3; i++)
                n += pid_of(&a[i]) == ask_pid();
        ck_assert_int_eq(n, 1);
        ck_assert_ptr_nonnull(pool.spare);
        tear_down();
}
END_TEST

/* On a busy machine it is killed before it has said anything: then it gets twice the time. */
START_TEST(a_hanging_one_is_killed_and_what_it_said_counts) {
        struct asked a = {.size = 0};
        pid_t pid;

        set_up();
        for (uint64_t usec = 50000; a.size == 0 && usec < 10000000; usec *= 2) {
                ck_assert_int_eq(start(&a, say_pid_and_hang, "", -1, usec), 0);
                RUN_UNTIL(loop, a.calls > 0);
                ck_assert_ptr_null(pool.spare);
        }
        pid = pid_of(&a);
        RUN_UNTIL(loop, kill(pid, 0) < 0);
        tear_down();
}
END_TEST

START_TEST(one_that_dies_is_replaced) {
        struct asked a;
        pid_t pid;

        set_up();
        ck_assert_str_eq(ask(&a, say_and_die, "so far", -1), "so far");
        ck_assert_str_eq(ask(&a, say, "next", -1), "next");
        /* The spare one, unnoticed. */
        pid = ask_pid();
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitid(P_PID, (id_t) pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
        ck_assert_int_ne(ask_pid(), pid);
        /* And noticed. */
        pid = ask_pid();
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        RUN_UNTIL(loop, !pool.spare);
        ck_assert_int_ne(ask_pid(), pid);
        tear_down();
}
END_TEST

START_TEST(one_is_not_forgotten_for_another) {
        struct errand errand = {say, "second", sizeof("second"), -1};
        struct worker *first;
        struct asked a;

        set_up();
        ck_assert_int_eq(start(&a, say, "first", -1, LONG_USEC), 0);
        first = a.worker;
        ck_assert_int_eq(worker_start(&a.worker, &pool, &errand, LONG_USEC, keep, &a), -EBUSY);
        ck_assert_ptr_eq(a.worker, first);
        RUN_UNTIL(loop, a.calls > 0);
        ck_assert_str_eq(a.text, "first");
        tear_down();
}
END_TEST

START_TEST(a_stopped_one_is_silent) {
        struct asked a;

        set_up();
        ck_assert_int_eq(start(&a, say, "unheard", -1, LONG_USEC), 0);
        a.worker = worker_stop(a.worker);
        ck_assert_ptr_null(worker_stop(a.worker));
        RUN_UNTIL(loop, !has_child());
        ck_assert_int_eq(a.calls, 0);
        tear_down();
}
END_TEST

START_TEST(it_has_the_descriptor_that_comes_with_the_errand_and_no_other) {
        int fd = open(test_write("file", "content"), O_RDONLY | O_CLOEXEC);
        int high = fcntl(fd, F_DUPFD_CLOEXEC, 100);
        struct asked a;

        ck_assert_int_ge(high, 100);
        set_up();
        ck_assert_str_eq(ask(&a, say_what_is_in, "", fd), "content");
        ck_assert_str_eq(ask(&a, say_what_is_in, "", -1), "");
        ask(&a, say_descriptors, "", -1);
        ck_assert_uint_eq(a.size, 1);
        ck_assert_int_eq(a.text[0], 1); /* the socket */
        ask(&a, say_descriptors, "", fd);
        ck_assert_int_eq(a.text[0], 2);
        tear_down();
        close(fd);
        close(high);
}
END_TEST

START_TEST(a_long_result_is_cut) {
        struct asked a;

        set_up();
        ask(&a, say_much, "", -1);
        ck_assert_uint_eq(a.size, CHILD_RESULT_MAX);
        ck_assert_str_eq(ask(&a, say, "after it", -1), "after it");
        tear_down();
}
END_TEST

START_TEST(too_long_a_request_is_refused) {
        static const char text[WORKER_REQUEST_MAX + 1];
        struct errand errand = {say, text, sizeof(text), -1};
        struct worker *worker = NULL;

        set_up();
        ck_assert_int_eq(worker_start(&worker, &pool, &errand, LONG_USEC, keep, NULL), -EMSGSIZE);
        ck_assert_ptr_null(worker);
        tear_down();
}
END_TEST

SUITE("worker", {
        TEST(one_child_does_one_errand_after_another);
        TEST(it_ends_when_nobody_asks);
        TEST(several_work_at_once_and_one_is_kept);
        TEST(a_hanging_one_is_killed_and_what_it_said_counts);
        TEST(one_that_dies_is_replaced);
        TEST(one_is_not_forgotten_for_another);
        TEST(a_stopped_one_is_silent);
        TEST(it_has_the_descriptor_that_comes_with_the_errand_and_no_other);
        TEST(a_long_result_is_cut);
        TEST(too_long_a_request_is_refused);
})
