/*
 * What hostile and unlucky clients do, and that nobody else notices: floods, clients that never
 * read, descriptors unread or unwanted, limits reached, descriptors run out.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "config/config.h"
#include "control_fixture.h"
#include "core/inherited.h"
#include "fd_list.h"
#include "sockets/listener_table.h"
#include "sockets_support.h"
#include "support.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

static const char *port; /* of web */

static struct fixture *with_web(void) {
        port = fixture_port();
        return fixture_new(compose("[Socket web]\n%sAccess=%d\n", port, STRANGER));
}

static struct session *newest(struct fixture *f) {
        return LIST_FIRST(&f->control->sessions);
}

/* A session that the broker has accepted. */
static int accepted(struct fixture *f) {
        unsigned before = f->control->n_sessions;
        int fd = client_connect(f);

        TURN_UNTIL(f, f->control->n_sessions == before + 1);
        return fd;
}

static bool has_ended(struct fixture *f, int fd) {
        return strcmp(client_receive(f, fd), "") == 0;
}

/* ---- the grammar --------------------------------------------------------------------------------
 */

START_TEST(who_breaks_the_grammar_is_disconnected_and_the_log_is_not_flooded) {
        static char too_long[MESSAGE_SIZE_MAX + 1];
        struct fixture *f = with_web();
        const char *const breaches[] = {"garbage", "=1", "VERB=HELLO\n\nX-A=1", "verb=HELLO",
                                        "VERB=HELLO\nVERB=HELLO"};
        unsigned before = f->lines;
        int fd, good = client_connect(f);

        for (int round = 0; round < 10; round++)
                for (size_t i = 0; i < sizeof(breaches) / sizeof(breaches[0]); i++) {
                        fd = client_connect(f);
                        client_send(fd, breaches[i]);
                        ck_assert(has_ended(f, fd));
                        close_fd(fd);
                }
        ck_assert_uint_gt(f->lines, before);
        ck_assert_uint_le(f->lines - before, 5);
        ck_assert_ptr_nonnull(strstr(f->last_line, compose("pid %d", (int) getpid())));
        fd = client_connect(f);
        ck_assert_int_eq((int) send(fd, too_long, sizeof(too_long), 0), sizeof(too_long));
        ck_assert(has_ended(f, fd));
        close_fd(fd);
        fd = client_connect(f);
        ck_assert_int_eq((int) send(fd, "", 0, 0), 0); /* reads like the end */
        ck_assert(has_ended(f, fd));
        close_fd(fd);
        ask(f, good, "VERB=HELLO", "OK=1\n");
        close_fd(good);
        fixture_free(f);
}
END_TEST

START_TEST(a_client_that_vanishes_between_request_and_answer_leaves_nothing) {
        struct fixture *f = with_web();
        struct listener *web = listener_table_find(f->broker->listeners, "web");
        int fd = accepted(f);

        client_send(fd, "VERB=ACQUIRE\nNAME=web");
        close_fd(fd);
        TURN_UNTIL(f, f->control->n_sessions == 0);
        ck_assert_uint_eq(web->n_leases, 0); /* it could not be answered: nothing has changed */
        ck_assert_uint_eq(f->control->fds_in_flight, 0);
        fixture_free(f);
}
END_TEST

/* ---- who does not read --------------------------------------------------------------------------
 */

START_TEST(a_client_that_never_reads_stops_itself_and_nobody_else) {
        struct fixture *f = with_web();
        int fd = accepted(f), other = client_connect(f);
        struct session *s = newest(f);
        unsigned sent = 0, answered = 0;

        for (unsigned stuck = 0; stuck < 3;) {
                const char *request = compose("VERB=HELLO\nSERIAL=%u", sent);
                int r = message_send(fd, request, strlen(request), NULL, 0);

                ck_assert(r == 0 || r == -EAGAIN);
                sent += r == 0;
                stuck += r == -EAGAIN;
                turn(f);
                ck_assert_uint_le(s->outgoing.count, 1);
        }
        ck_assert_uint_eq(s->outgoing.count, 1);
        ask(f, other, "VERB=ACQUIRE\nNAME=web", "OK=1\n");
        ck_assert_uint_eq(s->outgoing.count, 1);
        /* Now it reads, and misses nothing. */
        for (; answered < sent; answered++) {
                const char *begin = compose("OK=1\nSERIAL=%u\n", answered);
                const char *answer = client_receive(f, fd);

                ck_assert_msg(strncmp(answer, begin, strlen(begin)) == 0, "%s not %s", answer,
                              begin);
        }
        ck_assert(!is_readable(fd));
        close_fd(fd);
        close_fd(other);
        fixture_free(f);
}
END_TEST

START_TEST(events_for_who_does_not_read_are_bounded_and_the_loss_is_told) {
        const char *web = compose("[Socket web]\n%s", fixture_port());
        struct fixture *f = fixture_new(web);
        int fd = client_connect(f), small = 1;
        unsigned events = 0;
        struct session *s;

        ask(f, fd, "VERB=WATCH", "OK=1\n");
        s = newest(f);
        ck_assert_int_eq(setsockopt(s->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
        for (int i = 0; i < 40; i++) {
                fixture_configure(compose("%sBacklog=%d\n", web, 100 + i));
                control_reload(f->broker);
                turn(f);
                ck_assert_uint_le(s->outgoing.count, f->broker->limits.answers_per_session);
        }
        ck_assert(s->outgoing.overflow);
        while (strcmp(client_receive(f, fd), "EVENT=CHANGED\nNAME=web\n") == 0)
                events++;
        ck_assert_uint_ge(events, f->broker->limits.answers_per_session);
        ck_assert_uint_lt(events, 40);
        client_send(fd, "VERB=HELLO"); /* the event that ended the loop was OVERFLOW, the last */
        ck_assert_int_eq(strncmp(client_receive(f, fd), "OK=1\n", 5), 0);
        close_fd(fd);
        fixture_free(f);
}
END_TEST

/* ---- descriptors in flight ----------------------------------------------------------------------
 */

START_TEST(unread_descriptors_wait_in_the_broker_beyond_the_budget) {
        struct fixture *f = with_web();
        int fd = accepted(f), other = client_connect(f);
        struct session *s = newest(f);

        f->broker->limits.fds_in_flight_per_session = 2;
        for (int i = 0; i < 5; i++)
                client_send(fd, compose("VERB=ACQUIRE\nNAME=web\nSERIAL=%d", i));
        TURN_UNTIL(f, s->is_waiting);
        for (int i = 0; i < 20; i++)
                turn(f);
        ck_assert_uint_eq(f->control->fds_in_flight, 2);
        ck_assert_uint_eq(s->outgoing.count, 1);
        ask(f, other, "VERB=ACQUIRE\nNAME=web", "OK=1\n");
        for (int i = 0; i < 5; i++) {
                const char *begin = compose("OK=1\nSERIAL=%d\n", i);

                ck_assert_int_eq(strncmp(client_receive(f, fd), begin, strlen(begin)), 0);
                ck_assert_uint_eq(client_fds()->count, 1);
        }
        ck_assert(!s->is_waiting && !timer_is_started(&f->control->retry));
        close_fd(fd);
        close_fd(other);
        TURN_UNTIL(f, f->control->n_sessions == 0);
        ck_assert_uint_eq(f->control->fds_in_flight, 0);
        fixture_free(f);
}
END_TEST

START_TEST(one_user_has_a_share_of_the_budget_and_others_the_rest) {
        if (needs_root())
                return;
        struct fixture *f = with_web();
        int fds[4], mine = client_connect(f);

        f->broker->limits.fds_in_flight = 8; /* so 2 for one user */
        for (int i = 0; i < 4; i++) {
                fds[i] = client_connect_as(f, STRANGER, STRANGER, 0);
                client_send(fds[i], "VERB=ACQUIRE\nNAME=web");
        }
        TURN_UNTIL(f, f->control->n_waiting == 2);
        ck_assert_uint_eq(f->control->fds_in_flight, 2);
        ask(f, mine, "VERB=ACQUIRE\nNAME=web", "OK=1\n");
        for (int i = 0; i < 4; i++)
                ck_assert_int_eq(strncmp(client_receive(f, fds[i]), "OK=1\n", 5), 0);
        for (int i = 0; i < 4; i++)
                close_fd(fds[i]);
        close_fd(mine);
        fixture_free(f);
}
END_TEST

/* What idle sessions were sent long ago and have read must not count for ever. */
START_TEST(descriptors_that_were_read_leave_the_budget_without_a_word) {
        struct fixture *f = with_web();
        int fds[12];

        f->broker->limits.fds_in_flight = 4;
        for (int i = 0; i < 12; i++) {
                fds[i] = client_connect(f);
                ask(f, fds[i], "VERB=ACQUIRE\nNAME=web", "OK=1\n");
        }
        for (int i = 0; i < 12; i++)
                close_fd(fds[i]);
        fixture_free(f);
}
END_TEST

/* Else connecting again and again would put any number of descriptors in flight. */
START_TEST(an_ended_session_is_counted_until_its_peer_has_let_go_of_what_was_sent) {
        struct fixture *f = with_web();
        int fd = accepted(f);

        client_send(fd, "VERB=ACQUIRE\nNAME=web");
        client_send(fd, "garbage");
        TURN_UNTIL(f, f->control->n_waiting == 1);
        ck_assert_int_eq(newest(f)->state, SESSION_UNREAD);
        ck_assert_uint_eq(f->control->fds_in_flight, 1);
        ck_assert_int_eq(strncmp(client_receive(f, fd), "OK=1\n", 5), 0);
        ck_assert_uint_eq(client_fds()->count, 1);
        ck_assert(has_ended(f, fd));
        TURN_UNTIL(f, f->control->n_sessions == 0);
        ck_assert_uint_eq(f->control->fds_in_flight, 0);
        ck_assert(!timer_is_started(&f->control->retry));
        close_fd(fd);
        fixture_free(f);
}
END_TEST

static struct session *blocked_by_budget(struct fixture *f, int *ret_fd) {
        struct session *s;

        f->broker->limits.fds_in_flight_per_session = 1;
        *ret_fd = client_connect_as(f, STRANGER, STRANGER, 0);
        client_send(*ret_fd, "VERB=ACQUIRE\nNAME=web");
        client_send(*ret_fd, "VERB=ACQUIRE\nNAME=web");
        TURN_UNTIL(f, f->control->n_waiting == 1);
        s = newest(f);
        ck_assert_uint_eq(s->outgoing.count, 1);
        return s;
}

START_TEST(an_answer_that_waited_is_not_sent_when_the_right_was_taken_away) {
        if (needs_root())
                return;
        struct fixture *f = with_web();
        int fd;

        (void) blocked_by_budget(f, &fd);
        fixture_configure(compose("[Socket web]\n%s", port));
        control_reload(f->broker);
        ck_assert_int_eq(strncmp(client_receive(f, fd), "OK=1\n", 5), 0);
        ck_assert(has_ended(f, fd));
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(an_answer_that_waited_is_not_sent_for_a_listener_that_is_gone) {
        if (needs_root())
                return;
        struct fixture *f = with_web();
        int fd, mine = client_connect(f);

        (void) blocked_by_budget(f, &fd);
        fixture_configure("");
        ask(f, mine, "VERB=APPLY\nALLOW_CLOSE=1", "OK=1\n");
        ck_assert_int_eq(strncmp(client_receive(f, fd), "OK=1\n", 5), 0);
        ck_assert(has_ended(f, fd)); /* it connects and asks again, and hears ENOENT */
        close_fd(fd);
        close_fd(mine);
        fixture_free(f);
}
END_TEST

/* The kernel's own limit, which holds for who has no CAP_SYS_RESOURCE: so not for root. */
START_TEST(when_the_kernel_sends_no_more_descriptors_that_is_an_answer) {
        if (needs_root() || SKIPPED_UNDER_VALGRIND(VALGRIND_KEEPS_LIMITS))
                return;
        struct fixture *f = with_web();
        int pair[2], fd = accepted(f), copies[200];
        struct rlimit old, low;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        for (size_t i = 0; i < 200; i++)
                copies[i] = pair[0];
        ck_assert_int_eq(message_send(pair[0], "A=1", 3, copies, 200), 0);
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
        low = old;
        low.rlim_cur = 100;
        client_send(fd, "VERB=ACQUIRE\nNAME=web\nSERIAL=1");
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
        ck_assert_int_eq(seteuid(STRANGER), 0);
        for (int i = 0; i < 5; i++)
                turn(f);
        ck_assert_int_eq(seteuid(0), 0);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
        ck_assert_int_eq(strncmp(client_receive(f, fd), "ERROR=ETOOMANYREFS\nSERIAL=1\n", 28), 0);
        ck_assert_uint_eq(listener_table_find(f->broker->listeners, "web")->n_leases, 0);
        ask(f, fd, "VERB=HELLO", "OK=1\n");
        close_fd(fd);
        close_fd(pair[0]);
        close_fd(pair[1]);
        fixture_free(f);
}
END_TEST

START_TEST(a_client_that_takes_no_descriptors_is_told_and_holds_nothing) {
        struct fixture *f = with_web();
        int fd = accepted(f), no = 0;

        if (setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(no)) == 0) {
                ask(f, fd, "VERB=ACQUIRE\nNAME=web", "ERROR=EPERM\n");
                ask(f, fd, "VERB=STATUS", "ERROR=EPERM\n");
                ck_assert_uint_eq(listener_table_find(f->broker->listeners, "web")->n_leases, 0);
                ask(f, fd, "VERB=HELLO", "OK=1\n");
        }
        close_fd(fd);
        fixture_free(f);
}
END_TEST

/* ---- unwanted descriptors -----------------------------------------------------------------------
 */

/* A TCP socket whose last close(2) takes fifteen seconds: SO_LINGER, and data that nobody reads. */
static void make_lingering(int ret[2]) {
        const struct linger linger = {.l_onoff = 1, .l_linger = 15};
        static char block[65536];
        int listening = test_tcp_listener();
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_storage address;
        socklen_t size = sizeof(address);

        ck_assert_int_eq(getsockname(listening, (struct sockaddr *) &address, &size), 0);
        ck_assert_int_eq(connect(fd, (struct sockaddr *) &address, size), 0);
        ret[1] = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        ck_assert_int_ge(ret[1], 0);
        close_fd(listening);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        while (send(fd, block, sizeof(block), MSG_DONTWAIT) > 0)
                ;
        ret[0] = fd;
}

/* As on a kernel before 6.16; true on one. */
static void accept_descriptors(struct fixture *f) {
        int yes = 1;

        f->control->refuses_descriptors = false;
        (void) setsockopt(control_socket_fd(f->control), SOL_SOCKET, SO_PASSRIGHTS, &yes,
                          sizeof(yes));
}

START_TEST(the_kernel_refuses_descriptors_for_accepted_sessions) {
        struct fixture *f = with_web();
        int early = client_connect(f); /* not accepted yet */

        if (f->control->refuses_descriptors) {
                client_send_fd(early, "VERB=HELLO", early, EPERM);
                ask(f, early, "VERB=NOTIFY\nREADY=1",
                    "OK=1\n"); /* HELLO changes it: test_store.c */
                client_send_fd(early, "VERB=HELLO", early, EPERM);
        }
        close_fd(early);
        fixture_free(f);
}
END_TEST

START_TEST(a_descriptor_that_blocks_its_closer_delays_nobody) {
        struct fixture *f = with_web();
        int other, fd, lingering[2];

        accept_descriptors(f);
        other = client_connect(f);
        ask(f, other, "VERB=HELLO", "OK=1\n");
        fd = client_connect(f);
        make_lingering(lingering);
        client_send_fd(fd, "VERB=HELLO", lingering[0], 0);
        lingering[0] = close_fd(lingering[0]); /* the one in flight is the last */
        uint64_t begin = loop_now_usec();
        ck_assert_int_eq(strncmp(client_receive(f, fd), "ERROR=EINVAL\n", 13), 0);
        ask(f, other, "VERB=ACQUIRE\nNAME=web", "OK=1\n");
        ck_assert(has_ended(f, fd));
        TURN_UNTIL(f, f->control->n_sessions == 1 && !f->control->disposal.helper);
        ck_assert_uint_lt(loop_now_usec() - begin, 10000000);
        close_fd(fd);
        close_fd(lingering[1]);
        close_fd(other);
        TURN_UNTIL(f, f->control->n_sessions == 0);
        fixture_free(f);
}
END_TEST

/* Behind a packet that ends the session, behind an empty one, and behind unread descriptors. */
START_TEST(descriptors_that_were_never_received_delay_nobody_either) {
        const char *const first[] = {"garbage", "", "VERB=ACQUIRE\nNAME=web"};
        struct fixture *f = with_web();
        int other, lingering[2];

        accept_descriptors(f);
        other = client_connect(f);
        ask(f, other, "VERB=HELLO", "OK=1\n");
        for (size_t i = 0; i < 3; i++) {
                int fd = client_connect(f);

                make_lingering(lingering);
                ck_assert_int_ge((int) send(fd, first[i], strlen(first[i]), 0), 0);
                client_send_fd(fd, "VERB=HELLO", lingering[0], 0);
                close_fd(lingering[0]);
                if (i != 2)
                        close_fd(fd);
                uint64_t begin = loop_now_usec();
                TURN_UNTIL(f, f->control->n_sessions == 2 || f->control->n_waiting == 1);
                ask(f, other, "VERB=HELLO", "OK=1\n");
                if (i == 2)
                        close_fd(fd);
                TURN_UNTIL(f, f->control->n_sessions == 1 && !f->control->disposal.helper);
                ck_assert_uint_lt(loop_now_usec() - begin, 10000000);
                close_fd(lingering[1]);
        }
        ck_assert_uint_eq(f->control->fds_in_flight, 0);
        close_fd(other);
        TURN_UNTIL(f, f->control->n_sessions == 0);
        fixture_free(f);
}
END_TEST

/* While the broker was away its socket was kept, and not by somebody who refuses descriptors. */
START_TEST(descriptors_sent_before_the_socket_was_adopted_delay_nobody) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        struct inherited *inherited;
        struct fixture *f = NULL;
        int fds[3], lingering[2], other;

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", test_path("broker.sock"));
        ck_assert_int_eq(bind(listening, (struct sockaddr *) &address, sizeof(address)), 0);
        ck_assert_int_eq(listen(listening, 8), 0);
        make_lingering(lingering);
        for (int i = 0; i < 3; i++) {
                fds[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
                ck_assert_int_eq(connect(fds[i], (struct sockaddr *) &address, sizeof(address)), 0);
                client_send_fd(fds[i], "VERB=HELLO", lingering[0], 0);
        }
        close_fd(lingering[0]);
        ck_assert_int_eq(inherited_new(&inherited), 0);
        ck_assert_int_eq(inherited_put_fd(inherited, "x", listening), 0);
        ck_assert_int_eq(fixture_try("", inherited, &f), 0);
        other = client_connect(f);
        uint64_t begin = loop_now_usec();
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(strncmp(client_receive(f, fds[i]), "ERROR=EINVAL\n", 13), 0);
        ask(f, other, "VERB=HELLO", "OK=1\n");
        TURN_UNTIL(f, f->control->n_sessions == 1 && !f->control->disposal.helper);
        ck_assert_uint_lt(loop_now_usec() - begin, 10000000);
        ck_assert(!f->control->accepts_early);
        for (int i = 0; i < 3; i++)
                close_fd(fds[i]);
        close_fd(lingering[1]);
        close_fd(other);
        fixture_free(f);
}
END_TEST

START_TEST(an_ordinary_conversation_needs_no_child_on_old_kernels) {
        struct fixture *f = with_web();
        struct rusage before, after; /* of children that were collected */
        int fd;

        ck_assert_int_eq(getrusage(RUSAGE_CHILDREN, &before), 0);
        accept_descriptors(f);
        fd = client_connect(f);
        ask(f, fd, "VERB=ACQUIRE\nNAME=web", "OK=1\n");
        ask(f, fd, "VERB=STATUS", "OK=1\n");
        close_fd(fd);
        TURN_UNTIL(f, f->control->n_sessions == 0);
        ck_assert_int_lt(waitpid(-1, NULL, WNOHANG), 0); /* nor one that was not */
        ck_assert_int_eq(getrusage(RUSAGE_CHILDREN, &after), 0);
        ck_assert_int_eq(after.ru_minflt, before.ru_minflt);
        fixture_free(f);
}
END_TEST

/* ---- limits -------------------------------------------------------------------------------------
 */

START_TEST(sessions_of_one_user_have_a_limit_that_is_told_and_others_come_in) {
        if (needs_root())
                return;
        struct fixture *f = with_web();
        int fds[20], mine;

        f->broker->limits.sessions_per_user = 3;
        for (int i = 0; i < 20; i++)
                fds[i] = client_connect_as(f, STRANGER, STRANGER, 0);
        for (int i = 0; i < 3; i++)
                ask(f, fds[i], "VERB=HELLO\nSERIAL=1", "OK=1\nSERIAL=1\n");
        ask(f, fds[3], "VERB=HELLO\nSERIAL=2", "ERROR=EDQUOT\nSERIAL=2\n");
        ck_assert(has_ended(f, fds[3]));
        ck_assert(has_ended(f, fds[19])); /* far beyond it: without a word */
        mine = client_connect(f);
        ask(f, mine, "VERB=HELLO", "OK=1\n");
        for (int i = 0; i < 20; i++)
                close_fd(fds[i]);
        TURN_UNTIL(f, f->control->n_sessions == 1);
        fds[0] = client_connect_as(f, STRANGER, STRANGER, 0);
        ask(f, fds[0], "VERB=HELLO", "OK=1\n");
        close_fd(fds[0]);
        close_fd(mine);
        fixture_free(f);
}
END_TEST

START_TEST(at_the_limit_of_sessions_callers_wait_until_one_ends) {
        struct fixture *f = with_web();
        int first, second, third;

        f->broker->limits.sessions = 2;
        first = client_connect(f);
        second = client_connect(f);
        third = client_connect(f);
        client_send(third, "VERB=HELLO");
        TURN_UNTIL(f, timer_is_started(&f->control->accept_pause));
        ask(f, first, "VERB=HELLO", "OK=1\n");
        ck_assert(!is_readable(third));
        close_fd(second);
        TURN_UNTIL(f, f->control->n_sessions == 1);
        ck_assert(!timer_is_started(&f->control->accept_pause)); /* the end ended the pause too */
        ck_assert_int_eq(strncmp(client_receive(f, third), "OK=1\n", 5), 0);
        close_fd(first);
        close_fd(third);
        fixture_free(f);
}
END_TEST

START_TEST(out_of_descriptors_accepting_pauses_and_resumes_and_sessions_are_served) {
        if (SKIPPED_UNDER_VALGRIND(VALGRIND_KEEPS_LIMITS))
                return;
        struct fixture *f = with_web();
        int served = accepted(f), waiting = client_connect(f), next;
        struct rlimit old, low;

        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
        next = fcntl(served, F_DUPFD_CLOEXEC, 3);
        close_fd(next);
        low = old;
        low.rlim_cur = (rlim_t) next;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
        client_send(waiting, "VERB=HELLO");
        TURN_UNTIL(f, timer_is_started(&f->control->accept_pause));
        ask(f, served, "VERB=HELLO", "OK=1\n");
        ask(f, served, "VERB=ACQUIRE\nNAME=web", "ERROR=EMFILE\n"); /* no pidfd to be had */
        ask(f, served, "VERB=STATUS", "ERROR=EMFILE\n");
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
        /* The timer ends the pause by itself. */
        ck_assert_int_eq(strncmp(client_receive(f, waiting), "OK=1\n", 5), 0);
        ask(f, served, "VERB=ACQUIRE\nNAME=web", "OK=1\n");
        close_fd(served);
        close_fd(waiting);
        fixture_free(f);
}
END_TEST

START_TEST(idle_sessions_need_no_timer_and_delay_nobody) {
        enum { IDLE = 400 };
        struct fixture *f = with_web();
        int fds[IDLE], fd;

        for (int i = 0; i < IDLE; i++)
                fds[i] = client_connect(f);
        TURN_UNTIL(f, f->control->n_sessions == IDLE);
        fd = client_connect(f);
        ask(f, fd, "VERB=ACQUIRE\nNAME=web", "OK=1\n");
        ck_assert(!timer_is_started(&f->control->retry));
        ck_assert(!timer_is_started(&f->control->accept_pause));
        ck_assert_uint_lt(sizeof(struct session), 1024);
        for (int i = 0; i < IDLE; i++)
                close_fd(fds[i]);
        close_fd(fd);
        TURN_UNTIL(f, f->control->n_sessions == 0);
        fixture_free(f);
}
END_TEST

SUITE("sessions", {
        TEST(who_breaks_the_grammar_is_disconnected_and_the_log_is_not_flooded);
        TEST(a_client_that_vanishes_between_request_and_answer_leaves_nothing);
        TEST(a_client_that_never_reads_stops_itself_and_nobody_else);
        TEST(events_for_who_does_not_read_are_bounded_and_the_loss_is_told);
        TEST(unread_descriptors_wait_in_the_broker_beyond_the_budget);
        TEST(one_user_has_a_share_of_the_budget_and_others_the_rest);
        TEST(descriptors_that_were_read_leave_the_budget_without_a_word);
        TEST(an_ended_session_is_counted_until_its_peer_has_let_go_of_what_was_sent);
        TEST(an_answer_that_waited_is_not_sent_when_the_right_was_taken_away);
        TEST(an_answer_that_waited_is_not_sent_for_a_listener_that_is_gone);
        TEST(when_the_kernel_sends_no_more_descriptors_that_is_an_answer);
        TEST(a_client_that_takes_no_descriptors_is_told_and_holds_nothing);
        TEST(the_kernel_refuses_descriptors_for_accepted_sessions);
        TEST(a_descriptor_that_blocks_its_closer_delays_nobody);
        TEST(descriptors_that_were_never_received_delay_nobody_either);
        TEST(descriptors_sent_before_the_socket_was_adopted_delay_nobody);
        TEST(an_ordinary_conversation_needs_no_child_on_old_kernels);
        TEST(sessions_of_one_user_have_a_limit_that_is_told_and_others_come_in);
        TEST(at_the_limit_of_sessions_callers_wait_until_one_ends);
        TEST(out_of_descriptors_accepting_pauses_and_resumes_and_sessions_are_served);
        TEST(idle_sessions_need_no_timer_and_delay_nobody);
})
