/*
 * Out of memory at the n-th allocation of an apply, for every n: either all of it happens or
 * nothing. The linker puts the functions below in front of malloc(3) and its kind, for our own code
 * only.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sockets_support.h"
#include "support.h"
#include "table_support.h"

/* Allocations until the one that fails; negative: none does. */
static long until_failure = -1;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_reallocarray(void *array, size_t count, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_reallocarray(void *array, size_t count, size_t size);
char *__wrap_strdup(const char *text);

static int fails(void) {
        return until_failure >= 0 && until_failure-- == 0;
}

void *__wrap_malloc(size_t size) {
        return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
        return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_reallocarray(void *array, size_t count, size_t size) {
        return fails() ? NULL : __real_reallocarray(array, count, size);
}

char *__wrap_strdup(const char *text) {
        return fails() ? NULL : __real_strdup(text);
}

/* Each round has its own: one that got through leaves its folder. */
static const char *folder_of(long n) {
        char name[32];

        (void) snprintf(name, sizeof(name), "folder%ld", n);
        return test_path(name);
}

/* One of each: renamed and changed, given, moved with another backlog, bound, closed, taken back.
 */
static struct config *load_next(long n, unsigned kept, unsigned given, unsigned bound,
                                unsigned taken) {
        struct config *config;
        char *text;

        ck_assert_int_gt(asprintf(&text,
                                  "[Socket b]\nListenStream=%s\nSocketMode=0600\n"
                                  "[Socket g]\nListenStream=127.0.0.1:%u\n"
                                  "[Socket m]\nListenStream=127.0.0.1:%u\nBacklog=3\n"
                                  "[Socket n]\nListenStream=%s/n.sock\nListenStream=127.0.0.1:%u\n"
                                  "[Socket t]\nListenStream=127.0.0.1:%u\n",
                                  test_path("a.sock"), given, kept, folder_of(n), bound, taken),
                         0);
        config = load(text);
        free(text);
        return config;
}

/* What is there after a failure is what was there before. */
static void expect_untouched(const struct world *w, const struct identity before[2],
                             const char *folder, unsigned bound) {
        ck_assert_uint_eq(listener_table_count(w->table), 2);
        expect_identity(w, "a", 0, before[0]);
        expect_identity(w, "m", 0, before[1]);
        ck_assert_uint_eq(find(w, "m")->n_sockets, 2);
        ck_assert_uint_eq(find(w, "a")->n_leases, 1);
        ck_assert_uint_eq(inherited_count(w->inherited), 1);
        ck_assert_int_eq(access(folder, F_OK), -1);
        ck_assert_int_ne(test_tcp_connect(bound), 0);
        ck_assert_uint_gt(w->diagnostics.errors, 0);
        ck_assert_str_eq(w->events, "");
}

/* 0 when the n-th allocation was not reached any more. */
static int apply_failing(long n) {
        struct world *w = world_new();
        unsigned kept = test_free_port(), bound = test_free_port(), fds;
        int given = test_tcp_listener(), r, reached;
        struct identity before[2];
        struct config *config;
        struct holder *holder;
        int marked = test_marked_listener();
        unsigned taken = test_port_of(marked);
        pid_t elsewhere = test_hold_elsewhere(marked);

        ck_assert_int_eq(apply(w,
                               "[Socket a]\nListenStream=%s\n"
                               "[Socket m]\nListenStream=127.0.0.1:%u\nListenStream=%s\n",
                               test_path("a.sock"), kept, test_path("m.sock")),
                         0);
        ck_assert_int_eq(inherited_put_fd(w->inherited, "stranger", given), 0);
        holder = hold(w, "a");
        before[0] = identity_of(w, "a", 0);
        before[1] = identity_of(w, "m", 0);
        config = load_next(n, kept, test_port_of(given), bound, taken);
        w->events[0] = '\0';
        w->allow_close = true;
        listener_table_set_starting(w->table, true);
        fds = test_open_fds();
        until_failure = n;
        r = listener_table_apply(w->table, config, w->inherited, true, &w->diagnostics, &w->result);
        reached = until_failure < 0;
        until_failure = -1;
        if (r < 0) {
                ck_assert_int_eq(reached, 1);
                ck_assert_uint_eq(test_open_fds(), fds);
                expect_untouched(w, before, folder_of(n), bound);
        } else {
                ck_assert_uint_eq(listener_table_count(w->table), 5);
                expect_identity(w, "b", 0, before[0]);
                ck_assert_uint_eq(find(w, "n")->n_sockets, 2);
                ck_assert_uint_eq(find(w, "b")->n_leases, 1);
                /* no memory for a lease is no reason to go without the listener */
                ck_assert(reached || find(w, "t")->n_leases == 1);
        }
        ck_assert_int_eq(kill(elsewhere, SIGKILL), 0);
        ck_assert_int_eq(waitpid(elsewhere, NULL, 0), elsewhere);
        holder_put(holder);
        config_free(config);
        world_free(w);
        return reached;
}

START_TEST(an_apply_without_memory_does_nothing_or_all) {
        long n = 0;

        if (SKIPPED_UNDER_VALGRIND("it knows no pidfd_getfd(2), and allocates in its own way"))
                return;
        while (apply_failing(n))
                n++;
        ck_assert_int_gt(n, 30);
}
END_TEST

SUITE("apply_memory", { TEST(an_apply_without_memory_does_nothing_or_all); })
