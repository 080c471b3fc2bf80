/*
 * Probes: what counts as served, and by whom. The servers are processes of trees that share one
 * listener, as two generations do.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/health.h"
#include "sockets_support.h"
#include "support.h"
#include "tree_support.h"

struct fixture {
        struct loop *loop;
        int listening;
        struct health health;
        struct health_config config;
        struct component_config component;
        struct health_target target;
        unsigned results;
        enum health_result result;
        char text[HEALTH_TEXT_SIZE];
};

static struct fixture f;

static void on_done(void *owner, enum health_result result, const char *text) {
        f.results++;
        f.result = result;
        (void) snprintf(f.text, sizeof(f.text), "%s", text);
}

/* Servers take these as their argument. */
static char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
static char sick[] = "HTTP/1.1 503 Sick\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
static char greeting[] = "220 hello\r\n";

/* Reads until the request is whole, answers, closes at once. */
static void answer(int fd, const char *text) {
        char request[4096];
        size_t used = 0;
        ssize_t n;

        while (used < sizeof(request) - 1 &&
               (n = read(fd, request + used, sizeof(request) - 1 - used)) > 0) {
                used += (size_t) n;
                request[used] = '\0';
                if (strstr(request, "\r\n\r\n"))
                        break;
        }
        (void) send(fd, text, strlen(text), MSG_NOSIGNAL);
        close(fd);
}

static void serve(void *text) {
        for (;;) {
                int fd = accept4(f.listening, NULL, NULL, SOCK_CLOEXEC);

                if (fd >= 0)
                        answer(fd, text);
        }
}

static atomic_uint *n_accepted; /* in memory of the server and the test */

static void serve_and_count(void *text) {
        for (;;) {
                int fd = accept4(f.listening, NULL, NULL, SOCK_CLOEXEC);

                atomic_fetch_add(n_accepted, 1);
                answer(fd, text);
        }
}

/* The worker that a master forked: the tree is more than its main process. */
static void serve_by_worker(void *text) {
        if (fork() == 0)
                serve(text);
        for (;;)
                pause();
}

/* Accepts and says something at once, whatever is asked. */
static void serve_unasked(void *text) {
        for (;;) {
                int fd = accept4(f.listening, NULL, NULL, SOCK_CLOEXEC);

                (void) send(fd, text, strlen(text), MSG_NOSIGNAL);
                close(fd);
        }
}

static void hold(void *unused) {
        for (;;)
                pause();
}

static void accept_and_hold(void *unused) {
        (void) accept4(f.listening, NULL, NULL, SOCK_CLOEXEC);
        hold(NULL);
}

static void set_up_on(int listening, enum health_kind kind) {
        static char path[] = "/health";

        memset(&f, 0, sizeof(f));
        ck_assert_int_eq(loop_new(&f.loop), 0);
        f.listening = listening;
        f.config = (struct health_config){
                .kind = kind, .path = path, .timeout_usec = 20 * 1000 * 1000};
        f.target = (struct health_target){.config = &f.config, .component = &f.component};
        f.target.address_size = sizeof(f.target.address);
        ck_assert_int_eq(getsockname(listening, (struct sockaddr *) &f.target.address,
                                     &f.target.address_size),
                         0);
}

static void set_up(enum health_kind kind) {
        set_up_on(test_tcp_listener(), kind);
}

static void tear_down(void) {
        health_stop(&f.health);
        close(f.listening);
        loop_run_once(f.loop, false);
        loop_free(f.loop);
}

static enum health_result probe(const struct process_tree *tree) {
        unsigned before = f.results;

        f.target.tree = tree;
        ck_assert_int_eq(health_start(&f.health, f.loop, NULL, &f.target, on_done, NULL), 0);
        ck_assert_uint_eq(f.results, before); /* never from within */
        RUN_UNTIL(f.loop, f.results > before);
        ck_assert_ptr_null(f.health.probe);
        return f.result;
}

#define EXPECT(tree, expected, words)                                                              \
        do {                                                                                       \
                enum health_result r_ = probe(tree);                                               \
                ck_assert_msg(r_ == (expected), "%d: %s", (int) r_, f.text);                       \
                ck_assert_msg(strstr(f.text, words), "no '%s' in: %s", words, f.text);             \
        } while (0)

/* The reason for all of this: 200 of 200 were "good" for a generation that never accepted. */
static void expect_none_of_200(enum health_kind kind, int listening) {
        struct test_tree old, new;

        set_up_on(listening, kind);
        f.config.timeout_usec = 20 * 1000 * 1000;
        test_tree_start(&old, f.loop, serve_by_worker, ok);
        test_tree_start(&new, f.loop, hold, NULL); /* it has the listener, too */
        for (int i = 0; i < 200; i++) {
                EXPECT(&new.tree, HEALTH_ELSEWHERE,
                       "accepted, but by no process of this generation");
        }
        EXPECT(&old.tree, HEALTH_GOOD, kind == HEALTH_TCP ? "accepted by pid" : "HTTP status 200");
        test_tree_end(&old);
        test_tree_end(&new);
        tear_down();
}

START_TEST(what_the_old_generation_answers_never_counts_for_the_new_one) {
        expect_none_of_200(HEALTH_HTTP, test_tcp_listener());
        expect_none_of_200(HEALTH_TCP, test_tcp_listener());
}
END_TEST

START_TEST(what_the_old_generation_answers_never_counts_on_a_unix_socket) {
        expect_none_of_200(HEALTH_HTTP, test_unix_listener(test_path("a.sock")));
        expect_none_of_200(HEALTH_TCP, test_unix_listener(test_path("b.sock")));
}
END_TEST

START_TEST(a_server_that_closes_at_once_is_still_recognized) {
        struct test_tree t;

        set_up(HEALTH_HTTP);
        test_tree_start(&t, f.loop, serve, ok);
        for (int i = 0; i < 50; i++)
                EXPECT(&t.tree, HEALTH_GOOD, "HTTP status 200 from /health");
        test_tree_end(&t);
        tear_down();
}
END_TEST

START_TEST(the_status_decides) {
        struct test_tree t;

        set_up(HEALTH_HTTP);
        test_tree_start(&t, f.loop, serve, sick);
        EXPECT(&t.tree, HEALTH_REFUSED, "HTTP status 503 from /health");
        EXPECT(NULL, HEALTH_REFUSED, "HTTP status 503 from /health");
        f.config.status = 503;
        EXPECT(NULL, HEALTH_GOOD, "HTTP status 503");
        f.config.status = 200;
        EXPECT(NULL, HEALTH_REFUSED, "HTTP status 503");
        test_tree_end(&t);
        tear_down();
}
END_TEST

START_TEST(nonsense_and_silence_are_no_answer) {
        static char nothing[] = "";
        struct test_tree t;

        set_up(HEALTH_HTTP);
        test_tree_start(&t, f.loop, serve, greeting);
        EXPECT(&t.tree, HEALTH_REFUSED, "an answer that is not HTTP from /health");
        test_tree_end(&t);
        test_tree_start(&t, f.loop, serve, nothing);
        EXPECT(&t.tree, HEALTH_REFUSED, "closed without an answer from /health");
        EXPECT(NULL, HEALTH_REFUSED, "closed without an answer from /health");
        test_tree_end(&t);
        tear_down();
}
END_TEST

START_TEST(a_connection_in_the_queue_is_not_served) {
        set_up(HEALTH_TCP);
        f.config.timeout_usec = 60 * 1000;
        EXPECT(NULL, HEALTH_TIMEOUT, "connected, but not accepted within 60 ms");
        f.config.kind = HEALTH_HTTP;
        EXPECT(NULL, HEALTH_TIMEOUT, "no answer within 60 ms");
        tear_down();
        set_up_on(test_unix_listener(test_path("web.sock")), HEALTH_TCP);
        f.config.timeout_usec = 60 * 1000;
        EXPECT(NULL, HEALTH_TIMEOUT, "connected, but not accepted within 60 ms");
        tear_down();
}
END_TEST

/* False when the server was not scheduled either, in the time that it gets in spite of that. */
static bool is_good_after_we_were_held_up(bool while_we_look, unsigned accepted_before) {
        uint64_t back;

        f.results = 0;
        ck_assert_int_eq(health_start(&f.health, f.loop, NULL, &f.target, on_done, NULL), 0);
        RUN_UNTIL(f.loop, health_is_waiting(&f.health));
        if (while_we_look)
                RUN_UNTIL(f.loop, !health_is_waiting(&f.health));
        if (f.results > 0 && f.result == HEALTH_TIMEOUT)
                return false;
        do
                (void) usleep((useconds_t) f.config.timeout_usec + 200 * 1000);
        while (atomic_load(n_accepted) == accepted_before);
        back = loop_now_usec();
        RUN_UNTIL(f.loop, f.results > 0);
        if (f.result == HEALTH_TIMEOUT && loop_now_usec() - back >= DEADLINE_GRACE_USEC)
                return false;
        ck_assert_msg(f.result == HEALTH_GOOD, "%d: %s", (int) f.result, f.text);
        return true;
}

/* We are not scheduled, and the server serves meanwhile: while it accepts, and while we look who
 * did.
 */
START_TEST(time_that_we_were_held_up_is_not_the_servers) {
        struct test_tree t;

        n_accepted = mmap(NULL, sizeof(*n_accepted), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(n_accepted, MAP_FAILED);
        set_up(HEALTH_HTTP);
        f.config.timeout_usec = 300 * 1000;
        test_tree_start(&t, f.loop, serve_and_count, ok);
        f.target.tree = &t.tree;
        for (int good = 0; good < 5;)
                if (is_good_after_we_were_held_up(_i == 1, atomic_load(n_accepted)))
                        good++;
                else
                        f.config.timeout_usec *= 2;
        test_tree_end(&t);
        tear_down();
}
END_TEST

START_TEST(accepted_is_enough_for_tcp) {
        struct test_tree t;

        set_up(HEALTH_TCP);
        test_tree_start(&t, f.loop, accept_and_hold, NULL);
        EXPECT(&t.tree, HEALTH_GOOD, "accepted by pid");
        test_tree_end(&t);
        test_tree_start(&t, f.loop, serve_unasked, greeting);
        EXPECT(NULL, HEALTH_GOOD, "accepted");
        test_tree_end(&t);
        tear_down();
}
END_TEST

START_TEST(accepted_and_gone_is_said_to_be_nobodys) {
        struct test_tree t;
        unsigned gone = 0;

        set_up(HEALTH_TCP);
        test_tree_start(&t, f.loop, serve_unasked, greeting);
        for (int i = 0; i < 20; i++) {
                enum health_result r = probe(&t.tree);

                ck_assert_msg(r == HEALTH_UNTOLD || r == HEALTH_GOOD, "%s", f.text);
                gone += r == HEALTH_UNTOLD;
        }
        ck_assert_uint_gt(gone, 0);
        test_tree_end(&t);
        tear_down();
}
END_TEST

START_TEST(nobody_listens) {
        set_up(HEALTH_TCP);
        close(f.listening);
        f.listening = -1;
        EXPECT(NULL, HEALTH_REFUSED, "no connection: Connection refused");
        f.target.address_size = 0;
        EXPECT(NULL, HEALTH_REFUSED, "no listener to be probed");
        f.listening = test_tcp_listener();
        tear_down();
}
END_TEST

START_TEST(a_wildcard_is_probed_by_loopback) {
        struct sockaddr_in6 any = {.sin6_family = AF_INET6};
        int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct test_tree t;

        ck_assert_int_eq(bind(fd, (struct sockaddr *) &any, sizeof(any)), 0);
        ck_assert_int_eq(listen(fd, 16), 0);
        set_up_on(fd, HEALTH_HTTP);
        test_tree_start(&t, f.loop, serve, ok);
        EXPECT(&t.tree, HEALTH_GOOD, "200");
        /* An IPv4 client of the same listener: its accepted socket is an IPv6 one. */
        struct sockaddr_in *in = (struct sockaddr_in *) &f.target.address;
        unsigned port = test_port_of(fd);
        memset(&f.target.address, 0, sizeof(f.target.address));
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t) port);
        f.target.address_size = sizeof(*in);
        EXPECT(&t.tree, HEALTH_GOOD, "200");
        test_tree_end(&t);
        tear_down();
}
END_TEST

START_TEST(a_full_unix_queue_is_waited_for) {
        struct test_tree t;
        struct sockaddr_storage address;
        int clients[TEST_BACKLOG + 2], n = 0;

        set_up_on(test_unix_listener(test_path("web.sock")), HEALTH_HTTP);
        address = f.target.address;
        do {
                clients[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        } while (connect(clients[n++], (struct sockaddr *) &address, f.target.address_size) == 0);
        f.config.timeout_usec = 60 * 1000;
        EXPECT(NULL, HEALTH_TIMEOUT, "the queue is full");
        /* Nor for ever, because we were held up once. */
        ck_assert_int_eq(health_start(&f.health, f.loop, NULL, &f.target, on_done, NULL), 0);
        loop_run_once(f.loop, true);
        (void) usleep(300 * 1000);
        RUN_UNTIL(f.loop, f.results == 2);
        ck_assert_int_eq(f.result, HEALTH_TIMEOUT);
        f.config.timeout_usec = 20 * 1000 * 1000;
        ck_assert_int_eq(health_start(&f.health, f.loop, NULL, &f.target, on_done, NULL), 0);
        loop_run_once(f.loop, true);
        while (n > 0)
                close(clients[--n]);
        test_tree_start(&t, f.loop, serve, ok);
        RUN_UNTIL(f.loop, f.results == 3);
        ck_assert_int_eq(f.result, HEALTH_GOOD);
        test_tree_end(&t);
        tear_down();
}
END_TEST

START_TEST(a_stopped_probe_is_silent_and_another_may_follow) {
        struct test_tree t;

        set_up(HEALTH_HTTP);
        test_tree_start(&t, f.loop, serve, ok);
        f.target.tree = &t.tree;
        /* Stopped after any number of turns: in each of its steps. */
        for (int turns = 0; turns < 12; turns++) {
                ck_assert_int_eq(health_start(&f.health, f.loop, NULL, &f.target, on_done, NULL),
                                 0);
                ck_assert_int_eq(health_start(&f.health, f.loop, NULL, &f.target, on_done, NULL),
                                 -EBUSY);
                for (int i = 0; i < turns && f.results == 0; i++)
                        loop_run_once(f.loop, true);
                health_stop(&f.health);
                health_stop(&f.health);
                f.results = 0;
                loop_run_once(f.loop, false);
                ck_assert_uint_eq(f.results, 0);
        }
        EXPECT(&t.tree, HEALTH_GOOD, "200");
        test_tree_end(&t);
        tear_down();
}
END_TEST

/* ---- commands ---- */

static char *no_environment[] = {NULL};

static void set_up_command(char **arguments) {
        set_up(HEALTH_EXEC);
        f.component = (struct component_config){.name = (char *) (uintptr_t) "web",
                                                .environment = no_environment,
                                                .pass_environment = no_environment,
                                                .umask = 022};
        f.config.command = (struct command){
                .path = arguments[0], .arguments = arguments, .no_variables = true};
}

static void expect_command(const char *script, enum health_result expected, const char *words) {
        char *arguments[] = {(char *) (uintptr_t) "/bin/sh", (char *) (uintptr_t) "-c",
                             (char *) (uintptr_t) script, NULL};
        unsigned fds;

        set_up_command(arguments);
        fds = test_open_fds();
        f.config.timeout_usec = expected == HEALTH_TIMEOUT ? 200 * 1000 : 20 * 1000 * 1000;
        EXPECT(NULL, expected, words);
        /* All that it started ends, and what was needed to watch it goes with the last of it. */
        RUN_UNTIL(f.loop, test_open_fds() == fds && waitpid(-1, NULL, WNOHANG) < 0);
        tear_down();
}

START_TEST(a_command_decides_by_its_exit_status) {
        expect_command("exit 0", HEALTH_GOOD, "/bin/sh exited with status 0");
        expect_command("exit 3", HEALTH_REFUSED, "/bin/sh exited with status 3");
        expect_command("kill -9 $$", HEALTH_REFUSED, "SIGKILL");
        expect_command("test \"$FDPASS_COMPONENT\" = web", HEALTH_GOOD, "status 0");
}
END_TEST

START_TEST(a_command_is_killed_with_all_that_it_started) {
        expect_command("sleep 1000 & sleep 1000", HEALTH_TIMEOUT,
                       "the command did not end within 200 ms");
}
END_TEST

static bool has_written(const char *name) {
        struct stat st;

        return stat(test_path(name), &st) == 0 && st.st_size > 0;
}

/* Nobody would end it, and nobody would know of it. */
START_TEST(a_command_ends_with_the_broker) {
        char script[512];
        char *arguments[] = {(char *) (uintptr_t) "/bin/sh", (char *) (uintptr_t) "-c", script,
                             NULL};
        pid_t broker, command;
        int status;

        if (_i == 1 && geteuid() != 0)
                return;
        test_write("pid", "");
        ck_assert_int_eq(chmod(test_folder(), 0755), 0);
        ck_assert_int_eq(chmod(test_path("pid"), 0666), 0);
        (void) snprintf(script, sizeof(script), "echo $$ >%s; exec sleep 1000", test_path("pid"));
        ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
        broker = fork();
        if (broker == 0) {
                set_up_command(arguments);
                if (_i == 1) { /* as another user, who loses what was asked of the kernel before */
                        f.component.user = (char *) (uintptr_t) "nobody";
                        f.component.has_user = true;
                        f.component.uid = f.component.gid = 65534;
                }
                f.config.timeout_usec = 1000ULL * 1000 * 1000; /* not by that */
                ck_assert_int_eq(health_start(&f.health, f.loop, NULL, &f.target, on_done, NULL),
                                 0);
                while (!has_written("pid")) { /* which is nothing that the loop is told */
                        loop_run_once(f.loop, false);
                        (void) poll(NULL, 0, 1);
                }
                (void) raise(SIGKILL);
        }
        ck_assert_int_eq(waitpid(broker, &status, 0), broker);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        ck_assert(has_written("pid"));
        command = waitpid(-1, &status, 0); /* it is ours now */
        ck_assert_int_gt(command, 0);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}
END_TEST

START_TEST(a_command_that_is_not_there_says_so) {
        static char path[] = "/nowhere/check";
        char *arguments[] = {path, NULL};
        unsigned fds;

        set_up_command(arguments);
        fds = test_open_fds();
        EXPECT(NULL, HEALTH_REFUSED, "/nowhere/check could not be run");
        RUN_UNTIL(f.loop, test_open_fds() == fds && waitpid(-1, NULL, WNOHANG) < 0);
        tear_down();
}
END_TEST

SUITE("health", {
        TEST(what_the_old_generation_answers_never_counts_for_the_new_one);
        TEST(what_the_old_generation_answers_never_counts_on_a_unix_socket);
        TEST(a_server_that_closes_at_once_is_still_recognized);
        TEST(the_status_decides);
        TEST(nonsense_and_silence_are_no_answer);
        TEST(a_connection_in_the_queue_is_not_served);
        tcase_add_loop_test(tests_, time_that_we_were_held_up_is_not_the_servers, 0, 2);
        TEST(accepted_is_enough_for_tcp);
        TEST(accepted_and_gone_is_said_to_be_nobodys);
        TEST(nobody_listens);
        TEST(a_wildcard_is_probed_by_loopback);
        TEST(a_full_unix_queue_is_waited_for);
        TEST(a_stopped_probe_is_silent_and_another_may_follow);
        TEST(a_command_decides_by_its_exit_status);
        TEST(a_command_is_killed_with_all_that_it_started);
        tcase_add_loop_test(tests_, a_command_ends_with_the_broker, 0, 2);
        TEST(a_command_that_is_not_there_says_so);
})
