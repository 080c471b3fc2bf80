/* Events in the caller's own loop: the queue, and a broker that goes away while nobody calls. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "connection.h"
#include "fake_broker.h"
#include "support.h"

/* What a loop does: poll as told, then process. */
static int wait_and_process(struct fdpass *c) {
        struct pollfd p = {.fd = fdpass_get_fd(c), .events = (short) fdpass_get_events(c)};
        int timeout = fdpass_get_timeout(c);

        /* Without a limit of the library's, the descriptor alone has to wake us. */
        if (timeout < 0)
                ck_assert_int_eq(poll(&p, 1, 20000), 1);
        else
                ck_assert_int_ge(poll(&p, 1, timeout), 0);
        return fdpass_process(c);
}

/* … until there is an event, through a time without a broker. */
static void next_event(struct fdpass *c, const char *type, const char *name) {
        int r;

        do
                r = wait_and_process(c);
        while (r == 0 || r == -EHOSTDOWN);
        ck_assert_int_eq(r, 1);
        ck_assert_str_eq(fdpass_event(c), type);
        if (name)
                ck_assert_str_eq(fdpass_event_value(c, "NAME"), name);
        else
                ck_assert_ptr_null(fdpass_event_value(c, "NAME"));
}

static void script_events(int listening) {
        int c = fake_accept(listening);

        fake_expect(c, "VERB=WATCH\nNAME=web");
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        fake_send(c, "EVENT=CHANGED\nNAME=web\nX-NEW=\n", 1); /* its descriptor is closed */
        fake_send(c, "EVENT=REPLACED\nNAME=web", 0);
        fake_wait_closed(c);
}

START_TEST(an_event_is_shown_with_its_values) {
        struct fake fake = fake_start(script_events);
        struct fdpass *c = fake_open(&fake);
        unsigned before;

        ck_assert_int_gt(fdpass_get_fd(c), 2);
        before = test_open_fds();
        ck_assert_int_eq(fdpass_watch(c, "web"), 0);
        ck_assert_ptr_null(fdpass_event(c));
        next_event(c, "CHANGED", "web");
        ck_assert_str_eq(fdpass_event_value(c, "X-NEW"), "");
        ck_assert_ptr_null(fdpass_event_value(c, "NAM"));
        ck_assert_ptr_null(fdpass_event_value(c, NULL));
        next_event(c, "REPLACED", "web");
        ck_assert_int_eq(fdpass_process(c), 0);
        ck_assert_ptr_null(fdpass_event(c));
        ck_assert_uint_eq(test_open_fds(), before);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static void script_event_before_answer(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        fake_send(c, "EVENT=CHANGED\nNAME=a", 0);
        fake_send(c, "EVENT=CHANGED\nNAME=b", 0);
        fake_send(c, "OK=1\nSERIAL=%s\nFDS=1", 1);
        fake_wait_closed(c);
}

/* The trap of each library with a foreign loop: the socket is not readable any more. */
START_TEST(an_event_read_by_a_call_is_not_lost_for_the_loop) {
        struct fake fake = fake_start(script_event_before_answer);
        struct fdpass *c = fake_open(&fake);
        struct pollfd p;
        int fd;

        ck_assert_int_eq(fdpass_get_timeout(c), -1);
        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), 0);
        close_fd(fd);
        p = (struct pollfd){.fd = fdpass_get_fd(c), .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 0), 0);
        ck_assert_int_eq(fdpass_get_timeout(c), 0);
        next_event(c, "CHANGED", "a");
        ck_assert_int_eq(fdpass_get_timeout(c), 0);
        next_event(c, "CHANGED", "b");
        ck_assert_int_eq(fdpass_get_timeout(c), -1);
        ck_assert_int_eq(fdpass_process(c), 0);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static void count_event(void *owner, const struct assignments *event) {
        unsigned *count = owner;

        ck_assert(text_equal(*assignments_get(event, "NAME"), *count == 0 ? "a" : "b"));
        ++*count;
}

START_TEST(who_wants_to_hears_events_while_a_call_waits) {
        struct fake fake = fake_start(script_event_before_answer);
        struct fdpass *c = fake_open(&fake);
        unsigned count = 0;
        int fd;

        fdpass_hear_events(c, count_event, &count);
        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), 0);
        close_fd(fd);
        ck_assert_uint_eq(count, 2);
        ck_assert_int_eq(fdpass_get_timeout(c), -1); /* none is left for the loop */
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static void script_flood(int listening) {
        int c = fake_accept(listening);
        char text[64];

        (void) fake_request(c);
        for (int i = 0; i < EVENTS_MAX + 3; i++) {
                (void) snprintf(text, sizeof(text), "EVENT=CHANGED\nNAME=n%d", i);
                fake_send(c, text, 0);
        }
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        fake_wait_closed(c);
}

START_TEST(a_full_queue_drops_the_oldest_and_says_so) {
        struct fake fake = fake_start(script_flood);
        struct fdpass *c = fake_open(&fake);
        char name[16];

        ck_assert_int_eq(fdpass_ready(c), 0);
        next_event(c, "OVERFLOW", NULL);
        for (int i = 3; i < EVENTS_MAX + 3; i++) {
                (void) snprintf(name, sizeof(name), "n%d", i);
                next_event(c, "CHANGED", name);
        }
        ck_assert_int_eq(fdpass_process(c), 0);
        ck_assert_int_eq(fdpass_get_timeout(c), -1);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static void script_stray_answer(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        fake_send(c, "EVENT=CHANGED\nNAME=last", 0);
        fake_send(c, "OK=1\nSERIAL=%s\nFDS=1", 1);
        fake_wait_closed(c);
}

START_TEST(an_answer_that_nobody_waits_for_kills_the_connection) {
        struct fake fake = fake_start(script_stray_answer);
        struct fdpass *c = fake_open(&fake);
        int r;

        ck_assert_int_eq(fdpass_ready(c), 0);
        next_event(c, "CHANGED", "last");
        do
                r = wait_and_process(c);
        while (r == 0);
        ck_assert_int_eq(r, -EPROTO);
        ck_assert_int_eq(fdpass_process(c), -ENOTCONN);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

/* Events that came before the end are shown before the end is. */
static void script_last_words(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        fake_send(c, "EVENT=CHANGED\nNAME=a", 0);
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        fake_send(c, "EVENT=CHANGED\nNAME=b", 0);
        close(c);
        close(listening);
        unlink(test_path("broker.sock"));
}

START_TEST(a_loop_does_not_spin_while_the_broker_is_away) {
        struct fake fake = fake_start(script_last_words);
        struct fdpass *c = fake_open(&fake);
        long start = now_msec();
        int before = fdpass_get_fd(c), rounds = 0;

        ck_assert_int_eq(fdpass_ready(c), 0);
        fake_join(&fake);
        next_event(c, "CHANGED", "a");
        next_event(c, "CHANGED", "b");
        ck_assert_int_eq(wait_and_process(c), -EHOSTDOWN);
        ck_assert_int_eq(fdpass_get_fd(c), before);
        while (now_msec() - start < 500) {
                ck_assert_int_ge(fdpass_get_timeout(c), 0);
                ck_assert_int_eq(wait_and_process(c), -EHOSTDOWN);
                rounds++;
        }
        ck_assert_int_lt(rounds, 40); /* 1, 2, 4 … ms, and each may take two rounds */
        fdpass_close(c);
}
END_TEST

START_TEST(a_call_while_the_broker_is_away_gives_up_in_time) {
        struct fake fake = fake_start(script_last_words);
        struct fdpass *c = fake_open(&fake);
        struct pollfd p;

        ck_assert_int_eq(fdpass_ready(c), 0);
        fake_join(&fake);
        next_event(c, "CHANGED", "a");
        next_event(c, "CHANGED", "b");
        do
                ck_assert_int_eq(wait_and_process(c), -EHOSTDOWN);
        while (c->retry_delay < 256); /* the loop's next attempt is far away */
        ck_assert_int_eq(fdpass_set_timeout(c, 20), 0);
        ck_assert_int_eq(fdpass_ready(c), -EHOSTDOWN);
        ck_assert_int_eq(fdpass_ready(c), -ENOTCONN);
        ck_assert_int_eq(fdpass_process(c), -ENOTCONN);
        p = (struct pollfd){.fd = fdpass_get_fd(c), .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 50), 1); /* dead: a poller wakes, now */
        fdpass_close(c);
}
END_TEST

static void script_watches(int listening) {
        int c = fake_accept(listening);

        for (int i = 0; i < 4; i++) {
                (void) fake_request(c);
                fake_send(c, "OK=1\nSERIAL=%s", 0);
        }
        fake_expect(c, "VERB=WATCH\nNAME=refused");
        fake_send(c, "ERROR=ENOENT\nSERIAL=%s", 0);
        close(c);
        c = fake_accept(listening);
        fake_expect(c, "VERB=WATCH\nNAME=web"); /* once, though it was asked for twice */
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        fake_expect(c, "VERB=WATCH\nNAME=rpc");
        fake_send(c, "ERROR=ENOENT\nSERIAL=%s\nMESSAGE=no more", 0);
        fake_expect(c, "VERB=WATCH");
        fake_send(c, "ERROR=EDQUOT\nSERIAL=%s\nMESSAGE=too many", 0);
        fake_send(c, "EVENT=CHANGED\nNAME=web", 0);
        fake_expect(c, "VERB=NOTIFY\nREADY=1");
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        fake_wait_closed(c);
}

START_TEST(after_a_reconnection_the_watches_are_asked_for_again) {
        struct fake fake = fake_start(script_watches);
        struct fdpass *c = fake_open(&fake);
        int before = fdpass_get_fd(c);

        ck_assert_int_eq(fdpass_watch(c, "web"), 0);
        ck_assert_int_eq(fdpass_watch(c, "rpc"), 0);
        ck_assert_int_eq(fdpass_watch(c, NULL), 0);
        ck_assert_int_eq(fdpass_watch(c, "web"), 0);
        ck_assert_int_eq(fdpass_watch(c, "refused"), -ENOENT);
        next_event(c, "RECONNECTED", NULL);
        ck_assert_int_eq(fdpass_get_fd(c), before);
        next_event(c, "REMOVED", "rpc");
        ck_assert_str_eq(fdpass_event_value(c, "MESSAGE"), "no more");
        next_event(c, "UNWATCHED", NULL);
        ck_assert_str_eq(fdpass_event_value(c, "MESSAGE"), "too many");
        next_event(c, "CHANGED", "web");
        ck_assert_int_eq(fdpass_ready(c), 0);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static void script_watches_in_call(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        fake_expect(c, "VERB=NOTIFY\nREADY=1");
        close(c);
        c = fake_accept(listening);
        fake_expect(c, "VERB=WATCH\nNAME=web");
        fake_send(c, "ERROR=EACCES\nSERIAL=%s", 0);
        fake_expect(c, "VERB=NOTIFY\nREADY=1");
        FAKE_ASSERT(strcmp(fake_serial(), "2") == 0);
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        fake_wait_closed(c);
}

START_TEST(a_call_that_reconnects_asks_for_the_watches_again_too) {
        struct fake fake = fake_start(script_watches_in_call);
        struct fdpass *c = fake_open(&fake);

        ck_assert_int_eq(fdpass_watch(c, "web"), 0);
        ck_assert_int_eq(fdpass_ready(c), 0);
        next_event(c, "RECONNECTED", NULL);
        next_event(c, "UNWATCHED", "web");
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

/* ---- a broker that has lost everything ---- */

static void expect_offer(int c) {
        struct message m;

        FAKE_ASSERT(message_receive_wait(c, &m) == 1);
        m.data[m.size] = '\0';
        FAKE_ASSERT(strcmp(m.data, "VERB=OFFER\nNAME=web\nSERIAL=O\n") == 0);
        FAKE_ASSERT(m.fds.count == 1);
        message_clear(&m);
}

/* The one that is asked lends, and hangs up; the next one wants offers, and the last does not. */
static void script_lost(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        (void) fake_request(c);
        fake_send(c, "OK=1\nSERIAL=%s\nFDS=1", 1);
        close(c);
        c = fake_accept(listening);
        fake_expect(c, "VERB=HELLO");
        fake_send(c, "OK=1\nSERIAL=%s\nOFFER=1", 0);
        expect_offer(c);
        fake_expect(c, "VERB=WATCH\nNAME=web");
        fake_send(c, "ERROR=EEXIST\nSERIAL=O", 0); /* whatever becomes of it */
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        fake_expect(c, "VERB=NOTIFY\nREADY=1");
        close(c);
        c = fake_accept(listening);
        fake_expect(c, "VERB=HELLO"); /* and nothing else before its answer */
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        fake_expect(c, "VERB=WATCH\nNAME=web");
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        fake_expect(c, "VERB=NOTIFY\nREADY=1");
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        fake_expect(c, "VERB=RELEASE\nNAME=web");
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        close(c);
        c = fake_accept(listening);
        fake_expect(c, "VERB=WATCH\nNAME=web"); /* the client does not wait for its answer */
        fake_wait_closed(c);
}

START_TEST(what_was_acquired_is_handed_back_to_a_broker_that_wants_it) {
        struct fake fake = fake_start(script_lost);
        struct fdpass *c = fake_open(&fake);
        unsigned before = test_open_fds();
        int fd;

        ck_assert_int_gt(fdpass_get_fd(c), 2);
        ck_assert_int_eq(fdpass_watch(c, "web"), 0);
        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), 0);
        close_fd(fd);
        next_event(c, "RECONNECTED", NULL);
        ck_assert_int_eq(fdpass_ready(c), 0); /* loses the broker on its way, and finds the next */
        next_event(c, "RECONNECTED", NULL);
        ck_assert_int_eq(fdpass_release(c, "web"), 0);
        next_event(c, "RECONNECTED", NULL);
        ck_assert_uint_eq(test_open_fds(), before + 1); /* fdpass_get_fd()'s */
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static void script_yes(int listening) {
        int c = fake_accept(listening);

        while (*fake_request(c))
                fake_send(c, "OK=1\nSERIAL=%s", 0);
}

START_TEST(watches_are_bounded) {
        struct fake fake = fake_start(script_yes);
        struct fdpass *c = fake_open(&fake);
        char name[16];

        for (int i = 0; i < WATCHES_MAX; i++) {
                (void) snprintf(name, sizeof(name), "n%d", i);
                ck_assert_int_eq(fdpass_watch(c, name), 0);
        }
        ck_assert_int_eq(fdpass_watch(c, "n0"), 0);
        ck_assert_int_eq(fdpass_watch(c, "one-more"), -ENOSPC);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static void script_garbage(int listening) {
        int c = fake_accept(listening);

        fake_send(c, "garbage", 1);
        fake_wait_closed(c);
}

START_TEST(garbage_instead_of_an_event_kills_the_connection) {
        struct fake fake = fake_start(script_garbage);
        struct fdpass *c = fake_open(&fake);
        int r;

        do
                r = wait_and_process(c);
        while (r == 0);
        ck_assert_int_eq(r, -EPROTO);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

SUITE("events", {
        TEST(an_event_is_shown_with_its_values);
        TEST(an_event_read_by_a_call_is_not_lost_for_the_loop);
        TEST(who_wants_to_hears_events_while_a_call_waits);
        TEST(a_full_queue_drops_the_oldest_and_says_so);
        TEST(an_answer_that_nobody_waits_for_kills_the_connection);
        TEST(a_loop_does_not_spin_while_the_broker_is_away);
        TEST(a_call_while_the_broker_is_away_gives_up_in_time);
        TEST(after_a_reconnection_the_watches_are_asked_for_again);
        TEST(a_call_that_reconnects_asks_for_the_watches_again_too);
        TEST(what_was_acquired_is_handed_back_to_a_broker_that_wants_it);
        TEST(watches_are_bounded);
        TEST(garbage_instead_of_an_event_kills_the_connection);
})
