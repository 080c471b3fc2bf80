/*
 * Calls over a connection, against a broker that answers well or badly, or is not to be talked to.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "client.h"
#include "fake_broker.h"
#include "support.h"

#define LEND_ONE "OK=1\nSERIAL=%s\nNAME=web\nFDS=1\nFDNAME=web"

/* ---- answers ----------------------------------------------------------------------------------
 */

static void script_simple(int listening) {
        int c = fake_accept(listening);

        fake_expect(c, "VERB=ACQUIRE\nNAME=web");
        fake_send(c, LEND_ONE, 1);
        fake_expect(c, "VERB=RELEASE\nNAME=web");
        fake_send(c, "OK=1\nSERIAL=%s\n", 0);
        fake_expect(c, "VERB=NOTIFY\nREADY=1");
        fake_send(c, "OK=1\nSERIAL=%s\n", 1); /* a descriptor that nobody expects is closed */
        fake_expect(c, "VERB=NOTIFY\nSTATUS=serving 3 clients");
        fake_send(c, "OK=1\nSERIAL=%s\nX-FUTURE=1", 0);
        fake_wait_closed(c);
}

START_TEST(a_request_brings_its_answer) {
        struct fake fake = fake_start(script_simple);
        struct fdpass *c = fake_open(&fake);
        struct stat st;
        int fd = -1;

        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), 0);
        ck_assert_int_gt(fd, 2);
        ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ck_assert_int_eq(fstat(fd, &st), 0);
        ck_assert(S_ISSOCK(st.st_mode));
        ck_assert_int_eq(fdpass_release(c, "web"), 0);
        ck_assert_int_eq(fdpass_ready(c), 0);
        ck_assert_int_eq(fdpass_status(c, "serving 3 clients"), 0);
        ck_assert_str_eq(fdpass_error(c), "");
        close_fd(fd);
        ck_assert_ptr_null(fdpass_close(c));
        fake_join(&fake);
}
END_TEST

static void script_errors(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        fake_send(c, "ERROR=ENOENT\nSERIAL=%s\nMESSAGE=no listener is called web", 0);
        (void) fake_request(c);
        fake_send(c, "ERROR=EDQUOT\nSERIAL=%s", 1); /* errors bring no descriptors, but if */
        (void) fake_request(c);
        fake_send(c, "ERROR=EFROMTHEFUTURE\nSERIAL=%s\nMESSAGE=not today", 0);
        (void) fake_request(c);
        fake_send(c, LEND_ONE, 1);
        fake_wait_closed(c);
}

START_TEST(an_error_is_an_errno_and_a_sentence_and_the_conversation_goes_on) {
        struct fake fake = fake_start(script_errors);
        struct fdpass *c = fake_open(&fake);
        int fd = -7;

        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), -ENOENT);
        ck_assert_str_eq(fdpass_error(c), "no listener is called web");
        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), -EDQUOT);
        ck_assert_str_eq(fdpass_error(c), "");
        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), -EREMOTEIO);
        ck_assert_str_eq(fdpass_error(c), "not today");
        ck_assert_int_eq(fd, -7);
        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), 0);
        ck_assert_str_eq(fdpass_error(c), "");
        close_fd(fd);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static const struct {
        const char *answer;
        size_t n_fds;
} nonsense[] = {
        {"garbage", 1},
        {"SERIAL=%s\nOK=1\nFDS=1", 1},
        {"OK=2\nSERIAL=%s\nFDS=1", 1},
        {"OK=1\nFDS=1", 1},
        {"OK=1\nSERIAL=99\nFDS=1", 1},
        {"OK=1\nSERIAL=x\nFDS=1", 1},
        {"OK=1\nSERIAL=%s\nSERIAL=1\nFDS=1", 1},
        {"OK=1\nSERIAL=%s", 1},
        {"OK=1\nSERIAL=%s\nFDS=0", 0},
        {"OK=1\nSERIAL=%s\nFDS=-1", 1},
        {"OK=1\nSERIAL=%s\nFDS=65537", 1},
        {"OK=1\nSERIAL=%s\nFDS=99999999999999999999", 1},
        {"OK=1\nSERIAL=%s\nFDS=1", 0},
        {"OK=1\nSERIAL=%s\nFDS=1", 2},
        {"OK=1\nSERIAL=%s\nFDS=3", 2},
        {"OK=1\nSERIAL=%s\nFDS=2\nPART=2\nPARTS=2", 1},
        {"OK=1\nSERIAL=%s\nFDS=2\nPART=0\nPARTS=0", 2},
        {"OK=1\nSERIAL=%s\nFDS=2\nPARTS=x", 2},
        {"OK=1\nSERIAL=%s\nFDS=2\nPART=1\nPARTS=99999999", 1},
        {"ERROR=\n\nSERIAL=%s", 0},
        {"VERB=ACQUIRE\nSERIAL=%s", 0},
};
#define N_NONSENSE (sizeof(nonsense) / sizeof(nonsense[0]))

static void script_nonsense(int listening) {
        for (size_t i = 0; i < N_NONSENSE; i++) {
                int c = fake_accept(listening);

                (void) fake_request(c);
                fake_send(c, nonsense[i].answer, nonsense[i].n_fds);
                fake_wait_closed(c);
                close(c);
        }
}

START_TEST(an_answer_that_makes_no_sense_kills_the_connection_and_leaks_nothing) {
        struct fake fake = fake_start(script_nonsense);
        unsigned before = test_open_fds();

        for (size_t i = 0; i < N_NONSENSE; i++) {
                struct fdpass *c = fake_open(&fake);
                int fd = -7, r = fdpass_acquire(c, "web", &fd);

                ck_assert_msg(r == -EPROTO, "row %zu: %d", i, r);
                fake_assert_dead(c);
                fdpass_close(c);
                ck_assert_msg(test_open_fds() == before, "row %zu", i);
        }
        fake_join(&fake);
}
END_TEST

static void script_too_long(int listening) {
        static char big[MESSAGE_SIZE_MAX + 1];
        int c = fake_accept(listening);

        (void) fake_request(c);
        memset(big, 'x', sizeof(big));
        FAKE_ASSERT(send(c, big, sizeof(big), 0) == (ssize_t) sizeof(big));
        fake_wait_closed(c);
}

START_TEST(a_packet_over_the_limit_kills_the_connection) {
        struct fake fake = fake_start(script_too_long);
        struct fdpass *c = fake_open(&fake);
        int fd;

        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), -EPROTO);
        fake_assert_dead(c);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static void script_nothing(int listening) {
        fake_wait_closed(fake_accept(listening));
}

START_TEST(bad_arguments_are_refused_before_anything_is_sent) {
        struct fake fake = fake_start(script_nothing);
        struct fdpass *c = fake_open(&fake);
        int fd, *fds;

        ck_assert_int_eq(fdpass_open(NULL, fake.path), -EINVAL);
        ck_assert_int_eq(fdpass_acquire(NULL, "web", &fd), -EINVAL);
        ck_assert_int_eq(fdpass_acquire(c, NULL, &fd), -EINVAL);
        ck_assert_int_eq(fdpass_acquire(c, "a\nVERB=APPLY", &fd), -EINVAL);
        ck_assert_int_eq(fdpass_acquire(c, "web", NULL), -EINVAL);
        ck_assert_int_eq(fdpass_acquire_all(c, "", &fds), -EINVAL);
        ck_assert_int_eq(fdpass_acquire_all(c, "web", NULL), -EINVAL);
        ck_assert_int_eq(fdpass_release(c, ":"), -EINVAL);
        ck_assert_int_eq(fdpass_release(NULL, "web"), -EINVAL);
        ck_assert_int_eq(fdpass_status(c, NULL), -EINVAL);
        ck_assert_int_eq(fdpass_status(c, "two\nlines"), -EINVAL);
        ck_assert_int_eq(fdpass_ready(NULL), -EINVAL);
        ck_assert_int_eq(fdpass_watch(c, ""), -EINVAL);
        ck_assert_int_eq(fdpass_watch(NULL, NULL), -EINVAL);
        ck_assert_int_eq(fdpass_process(NULL), -EINVAL);
        ck_assert_int_eq(fdpass_set_timeout(c, 0), -EINVAL);
        ck_assert_int_eq(fdpass_set_timeout(c, -2), -EINVAL);
        ck_assert_int_eq(fdpass_set_timeout(NULL, 1), -EINVAL);
        ck_assert_int_eq(fdpass_set_timeout(c, -1), 0);
        ck_assert_str_eq(fdpass_error(NULL), "");
        ck_assert_ptr_null(fdpass_event(NULL));
        ck_assert_ptr_null(fdpass_close(NULL));
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static void script_long_status(int listening) {
        int c = fake_accept(listening);
        const char *status = strstr(fake_request(c), "STATUS=") + 7;

        /* 255 would cut the last of the two-byte characters in half */
        FAKE_ASSERT(strcspn(status, "\n") == 254);
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        status = strstr(fake_request(c), "STATUS=") + 7;
        FAKE_ASSERT(strcspn(status, "\n") == 255);
        fake_send(c, "OK=1\nSERIAL=%s", 0);
}

START_TEST(a_long_status_is_cut_between_characters) {
        struct fake fake = fake_start(script_long_status);
        struct fdpass *c = fake_open(&fake);
        char text[401];

        for (size_t i = 0; i < 400; i += 2)
                memcpy(text + i, "\xc3\xa4", 2);
        text[400] = '\0';
        ck_assert_int_eq(fdpass_status(c, text), 0);
        memset(text, 'x', 400);
        ck_assert_int_eq(fdpass_status(c, text), 0);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

/* ---- several descriptors ----------------------------------------------------------------------
 */

static void script_parts(int listening) {
        int c = fake_accept(listening);

        for (int i = 0; i < 3; i++) {
                (void) fake_request(c);
                fake_send(c, "OK=1\nSERIAL=%s\nFDS=600\nFDNAME=many\nPART=1\nPARTS=3", 252);
                fake_send(c, "EVENT=CHANGED\nNAME=other", 0);
                fake_send(c, "OK=1\nSERIAL=%s\nFDS=600\nFDNAME=many\nPART=2\nPARTS=3", 252);
                fake_send(c, "OK=1\nSERIAL=%s\nFDS=600\nFDNAME=many\nPART=3\nPARTS=3", 96);
        }
        (void) fake_request(c);
        fake_send(c, LEND_ONE, 1);
        fake_wait_closed(c);
}

static void close_all(int *fds, int n) {
        for (int i = 0; i < n; i++) {
                ck_assert_int_gt(fds[i], 2);
                ck_assert_int_eq(close(fds[i]), 0);
        }
        free(fds);
}

START_TEST(many_descriptors_come_in_several_packets) {
        struct fake fake = fake_start(script_parts);
        struct fdpass *c = fake_open(&fake);
        int *fds, fd = -7;
        char *fd_name;

        ck_assert_int_eq(fdpass_acquire_all(c, "web", &fds), 600);
        close_all(fds, 600);
        ck_assert_int_eq(fdpass_acquire_named(c, "web", &fds, &fd_name), 600);
        ck_assert_str_eq(fd_name, "many");
        free(fd_name);
        close_all(fds, 600);
        /* the call for one takes them all out of the socket: the next answer is the next answer */
        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), -ENOTUNIQ);
        ck_assert_int_eq(fd, -7);
        ck_assert_int_eq(fdpass_acquire_all(c, "web", &fds), 1);
        close_all(fds, 1);
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(fdpass_process(c), 1);
                ck_assert_str_eq(fdpass_event(c), "CHANGED");
        }
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static const char *const broken_parts[] = {
        "OK=1\nSERIAL=%s\nFDS=3\nPART=1\nPARTS=2", /* the first part again */
        "OK=1\nSERIAL=%s\nFDS=3\nPART=3\nPARTS=2",
        "OK=1\nSERIAL=%s\nFDS=3\nPART=2\nPARTS=3",
        "OK=1\nSERIAL=%s\nFDS=4\nPART=2\nPARTS=2",
        "OK=1\nSERIAL=%s\nFDS=3",
        "OK=1\nSERIAL=1%s\nFDS=3\nPART=2\nPARTS=2",
        "OK=1\nSERIAL=%s\nFDS=3\nPART=2\nPARTS=2", /* 2 + 2 are not 3 */
        "garbage",
};
#define N_BROKEN_PARTS (sizeof(broken_parts) / sizeof(broken_parts[0]))

static void script_broken_parts(int listening) {
        for (size_t i = 0; i < N_BROKEN_PARTS; i++) {
                int c = fake_accept(listening);

                (void) fake_request(c);
                fake_send(c, "OK=1\nSERIAL=%s\nFDS=3\nPART=1\nPARTS=2", 2);
                fake_send(c, broken_parts[i], 2);
                fake_wait_closed(c);
                close(c);
        }
}

START_TEST(parts_that_do_not_fit_together_kill_the_connection_and_leak_nothing) {
        struct fake fake = fake_start(script_broken_parts);
        unsigned before = test_open_fds();

        for (size_t i = 0; i < N_BROKEN_PARTS; i++) {
                struct fdpass *c = fake_open(&fake);
                int *fds = NULL, r = fdpass_acquire_all(c, "web", &fds);

                ck_assert_msg(r == -EPROTO, "row %zu: %d", i, r);
                ck_assert_ptr_null(fds);
                fake_assert_dead(c);
                fdpass_close(c);
                ck_assert_msg(test_open_fds() == before, "row %zu", i);
        }
        fake_join(&fake);
}
END_TEST

static void script_lend_three(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        fake_send(c, "OK=1\nSERIAL=%s\nFDS=3", 3);
        fake_wait_closed(c);
}

START_TEST(out_of_descriptors_is_an_error_and_leaks_nothing) {
        struct fake fake = fake_start(script_lend_three);
        struct fdpass *c = fake_open(&fake);
        struct rlimit old, low;
        int *fds, r, last = fdpass_get_fd(c);
        unsigned before = test_open_fds();

        if (SKIPPED_UNDER_VALGRIND(VALGRIND_KEEPS_LIMITS)) {
                fdpass_close(c);
                fake_kill(&fake);
                return;
        }
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
        low = old;
        low.rlim_cur = (rlim_t) last + 3; /* room for two */
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
        r = fdpass_acquire_all(c, "web", &fds);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
        ck_assert_int_eq(r, -EMFILE);
        fake_assert_dead(c);
        ck_assert_uint_eq(test_open_fds(), before);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

/* ---- the call below the calls -----------------------------------------------------------------
 */

static void script_call(int listening) {
        struct message m;
        int c = fake_accept(listening);
        struct pollfd p = {.fd = c, .events = POLLIN};

        (void) poll(&p, 1, -1);
        FAKE_ASSERT(message_receive(c, &m) == 1);
        FAKE_ASSERT(m.fds.count == 2);
        message_clear(&m);
        FAKE_ASSERT(message_send(c, "OK=1\nSERIAL=1\nDOCUMENT=json\nSIZE=2", 34, &c, 1) == 0);
        (void) fake_request(c);
        fake_send(c, "ERROR=EINVAL\nSERIAL=%s\nMESSAGE=no\nDOCUMENT=json", 1);
        (void) fake_request(c);
        fake_send(c, "OK=1\nSERIAL=%s\nPART=1\nPARTS=2", 1);
        fake_wait_closed(c);
}

START_TEST(a_call_sends_and_brings_descriptors) {
        struct fake fake = fake_start(script_call);
        struct fdpass *c = fake_open(&fake);
        static struct packet_writer w;
        struct answer *answer = NULL;
        int fds[2] = {0, 1};

        packet_begin(&w);
        packet_add(&w, "VERB", "STORE");
        ck_assert_int_eq(fdpass_call(c, &w, fds, 2, &answer), 0);
        ck_assert(text_equal(*assignments_get(&answer->assignments, "DOCUMENT"), "json"));
        ck_assert_uint_eq(answer->message.fds.count, 1);
        answer = answer_free(answer);
        packet_begin(&w);
        packet_add(&w, "VERB", "STORE");
        ck_assert_int_eq(fdpass_call(c, &w, NULL, 0, &answer), -EINVAL);
        ck_assert_str_eq(fdpass_error(c), "no");
        /* a refusal, too, can bring a document */
        ck_assert(text_equal(*assignments_get(&answer->assignments, "DOCUMENT"), "json"));
        ck_assert_uint_eq(answer->message.fds.count, 1);
        answer = answer_free(answer);
        packet_begin(&w);
        w.overflow = true;
        ck_assert_int_eq(fdpass_call(c, &w, NULL, 0, &answer), -EMSGSIZE);
        packet_begin(&w);
        packet_add(&w, "VERB", "ACQUIRE");
        ck_assert_int_eq(fdpass_call(c, &w, NULL, 0, &answer), -EPROTO); /* parts */
        ck_assert_ptr_null(answer);
        fake_assert_dead(c);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

/* ---- who and where ----------------------------------------------------------------------------
 */

static void script_wait_and_lend(int listening) {
        int c = fake_accept(listening);

        if (*fake_request(c)) {
                fake_send(c, LEND_ONE, 1);
                fake_wait_closed(c);
        }
}

START_TEST(a_broker_of_another_user_is_not_talked_to) {
        struct fake fake;
        struct fdpass *c;

        if (geteuid() != 0)
                return; /* only root can play another user */
        fake = fake_start_as(script_wait_and_lend, 65534);
        ck_assert_int_eq(fdpass_open(&c, fake.path), -EPERM);
        fake_join(&fake);
}
END_TEST

static void script_taken_over(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        unlink(test_path("broker.sock"));
        chmod(test_folder(), 0777);
        close(listening);
        FAKE_ASSERT(setresuid(65534, 65534, 65534) == 0);
        listening = fake_listen(test_path("broker.sock"), 4);
        close(c);
        close(fake_accept(listening));
}

START_TEST(a_lost_broker_replaced_by_another_users_is_not_talked_to) {
        struct fake fake;
        struct fdpass *c;
        int fd;

        if (geteuid() != 0)
                return;
        fake = fake_start(script_taken_over);
        c = fake_open(&fake);
        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), -EPERM);
        fake_assert_dead(c);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static void body_as_nobody(void) {
        struct fdpass *c;
        int fd;

        FAKE_ASSERT(setresuid(65534, 65534, 65534) == 0);
        FAKE_ASSERT(fdpass_open(&c, test_path("broker.sock")) == 0);
        FAKE_ASSERT(fdpass_acquire(c, "web", &fd) == 0);
        fdpass_close(c);
        FAKE_ASSERT(fdpass_open(&c, "/root/x/broker.sock") == -EACCES);
}

START_TEST(roots_broker_is_everybodys) {
        struct fake fake;

        if (geteuid() != 0)
                return;
        ck_assert_int_eq(chmod(test_folder(), 0755), 0);
        fake = fake_start(script_wait_and_lend);
        run_in_child(body_as_nobody);
        fake_join(&fake);
}
END_TEST

START_TEST(where_no_broker_is_there_is_an_error_at_once) {
        char path[120];
        struct fdpass *c;
        int fd;

        ck_assert_int_eq(fdpass_open(&c, test_path("missing")), -EHOSTDOWN);
        ck_assert_int_eq(fdpass_open(&c, test_path("missing/broker.sock")), -EHOSTDOWN);
        ck_assert_int_eq(fdpass_open(&c, ""), -EHOSTDOWN);
        ck_assert_int_eq(fdpass_open(&c, test_write("file", "")), -EHOSTDOWN);
        fd = fake_listen(test_path("stale"), 1);
        close_fd(fd);
        ck_assert_int_eq(fdpass_open(&c, test_path("stale")), -EHOSTDOWN);
        memset(path, 'p', sizeof(path));
        path[108] = '\0';
        ck_assert_int_eq(fdpass_open(&c, path), -ENAMETOOLONG);
        path[107] = '\0';
        ck_assert_int_eq(fdpass_open(&c, path), -EHOSTDOWN);
}
END_TEST

static void body_stdio_closed(void) {
        struct fdpass *c;
        int fd, *fds;

        for (fd = 0; fd < 3; fd++)
                close(fd);
        FAKE_ASSERT(fdpass_open(&c, test_path("broker.sock")) == 0);
        FAKE_ASSERT(fdpass_get_fd(c) > 2);
        FAKE_ASSERT(fdpass_acquire_all(c, "web", &fds) == 3);
        for (int i = 0; i < 3; i++)
                FAKE_ASSERT(fds[i] > 2 && fcntl(fds[i], F_GETFD) == FD_CLOEXEC);
        free(fds);
        for (fd = 0; fd < 3; fd++)
                FAKE_ASSERT(fcntl(fd, F_GETFD) < 0);
        fdpass_close(c);
}

START_TEST(standard_descriptors_are_never_handed_out) {
        struct fake fake = fake_start(script_lend_three);

        run_in_child(body_stdio_closed);
        fake_join(&fake);
}
END_TEST

SUITE("connection", {
        TEST(a_request_brings_its_answer);
        TEST(an_error_is_an_errno_and_a_sentence_and_the_conversation_goes_on);
        TEST(an_answer_that_makes_no_sense_kills_the_connection_and_leaks_nothing);
        TEST(a_packet_over_the_limit_kills_the_connection);
        TEST(bad_arguments_are_refused_before_anything_is_sent);
        TEST(a_long_status_is_cut_between_characters);
        TEST(many_descriptors_come_in_several_packets);
        TEST(parts_that_do_not_fit_together_kill_the_connection_and_leak_nothing);
        TEST(out_of_descriptors_is_an_error_and_leaks_nothing);
        TEST(a_call_sends_and_brings_descriptors);
        TEST(a_broker_of_another_user_is_not_talked_to);
        TEST(a_lost_broker_replaced_by_another_users_is_not_talked_to);
        TEST(roots_broker_is_everybodys);
        TEST(where_no_broker_is_there_is_an_error_at_once);
        TEST(standard_descriptors_are_never_handed_out);
})
