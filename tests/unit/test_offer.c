/*
 * OFFER, in a broker that is made to wait for it. That a start waits, and the whole way through the
 * library, is in tests/integration/test_offer.py.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "control_fixture.h"
#include "core/inherited.h"
#include "sockets/listener_table.h"
#include "sockets/listener_table_private.h"
#include "sockets_support.h"
#include "support.h"

#define OFFER "VERB=OFFER\nNAME=web"

/* The broker's listeners web and api; it lets go of nothing, and yet waits for offers. */
static struct fixture *waiting(int *ret_client) {
        struct fixture *f = fixture_new(
                compose("[Socket web]\n%s[Socket api]\n%s", fixture_port(), fixture_port()));

        if (!f->broker->inherited)
                ck_assert_int_eq(inherited_new(&f->broker->inherited), 0);
        f->control->offers.open = true;
        *ret_client = client_connect(f);
        ck_assert_ptr_nonnull(strstr(ask(f, *ret_client, "VERB=HELLO", "OK=1\n"), "\nOFFER=1"));
        return f;
}

static int lent(struct fixture *f, const char *name) {
        return listener_table_find(f->broker->listeners, name)->fds[0];
}

static void offer(struct fixture *f, int client, const char *request, int fd, const char *begin) {
        const char *answer;

        client_send_fd(client, request, fd, 0);
        answer = client_receive(f, client);
        ck_assert_msg(strncmp(answer, begin, strlen(begin)) == 0, "answered:\n%s", answer);
}

static size_t given(struct fixture *f) {
        return inherited_count(f->broker->inherited);
}

START_TEST(what_was_lent_is_taken_once) {
        int client;
        struct fixture *f = waiting(&client);

        offer(f, client, OFFER, lent(f, "web"), "OK=1\n");
        ck_assert_uint_eq(given(f), 1);
        ck_assert_str_eq(inherited_name(f->broker->inherited, 0), "web");
        ck_assert(offers_has(f->broker->listeners, inherited_peek_fd(f->broker->inherited, 0)));
        offer(f, client, OFFER, lent(f, "web"), "ERROR=EEXIST\n");
        ck_assert_uint_eq(given(f), 1);
        offers_begin_leases(f->broker->listeners);
        ck_assert_uint_eq(listener_table_find(f->broker->listeners, "web")->n_leases, 1);
        close_fd(client);
        fixture_free(f);
}
END_TEST

START_TEST(what_is_no_listener_of_ours_is_refused) {
        int client, other = test_tcp_listener(), bound = test_tcp_bound(test_free_port()),
                    datagram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct fixture *f = waiting(&client);

        offer(f, client, OFFER, STDIN_FILENO, "ERROR=EINVAL\n");
        offer(f, client, OFFER, datagram, "ERROR=EINVAL\n");
        offer(f, client, OFFER, bound, "ERROR=EINVAL\n");
        offer(f, client, OFFER, other, "ERROR=EINVAL\n"); /* never lent */
        ck_assert_int_eq(fchmod(other, 01777), 0);        /* by another broker of ours */
        offer(f, client, OFFER, other, "ERROR=EINVAL\n");
        offer(f, client, OFFER, lent(f, "api"), "ERROR=EINVAL\n"); /* another address */
        offer(f, client, "VERB=OFFER\nNAME=nobody", lent(f, "web"), "ERROR=ENOENT\n");
        /* The right address, and it listens; but the mark is gone. */
        ck_assert_int_eq(fchmod(lent(f, "web"), 0777), 0);
        offer(f, client, OFFER, lent(f, "web"), "ERROR=EINVAL\n");
        ck_assert_uint_eq(given(f), 0);
        close_fd(client);
        close_fd(other);
        close_fd(bound);
        close_fd(datagram);
        fixture_free(f);
}
END_TEST

/* Listening at the same address, marked, but where no client of ours can reach it. */
static int listener_elsewhere(const struct address *address) {
        _cleanup_close_ int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        int fd, yes = 1;

        ck_assert_int_ge(here, 0);
        if (unshare(CLONE_NEWNET) < 0)
                return -1;
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &yes, sizeof(yes)), 0);
        ck_assert_int_eq(bind(fd, &address->any, address->length), 0);
        ck_assert_int_eq(listen(fd, 1), 0);
        ck_assert_int_eq(fchmod(fd, 01777), 0);
        ck_assert_int_eq(setns(here, CLONE_NEWNET), 0);
        return fd;
}

START_TEST(a_listener_of_another_network_is_refused) {
        struct address address;
        struct fixture *f;
        int client, fd;

        if (needs_root())
                return;
        f = waiting(&client);
        ck_assert_int_eq(address_of_socket(lent(f, "web"), &address), 0);
        fd = listener_elsewhere(&address);
        if (fd >= 0)
                offer(f, client, OFFER, fd, "ERROR=EINVAL\n");
        else
                (void) fprintf(stderr, "not checked: no other network namespace to be had\n");
        ck_assert_uint_eq(given(f), 0);
        close_fd(fd);
        close_fd(client);
        fixture_free(f);
}
END_TEST

START_TEST(who_may_not_hold_it_may_not_offer_it) {
        int client, stranger;
        struct fixture *f;

        if (needs_root())
                return;
        f = waiting(&client);
        stranger = client_connect_as(f, STRANGER, STRANGER, 0);
        ask(f, stranger, "VERB=HELLO", "OK=1\n");
        offer(f, stranger, OFFER, lent(f, "web"), "ERROR=ENOENT\n");
        ck_assert_uint_eq(given(f), 0);
        close_fd(stranger);
        close_fd(client);
        fixture_free(f);
}
END_TEST

START_TEST(everything_else_waits_until_the_start_is_over) {
        int client, other;
        struct fixture *f = waiting(&client);

        other = client_connect(f);
        client_send(other, "VERB=ACQUIRE\nNAME=web");
        client_send(other, "VERB=HELLO");
        for (int i = 0; i < 8; i++) {
                ask(f, client, "VERB=HELLO", "OK=1\n");
                ck_assert(!is_readable(other));
        }
        control_end_offers(f->control);
        ck_assert_ptr_nonnull(strstr(client_receive(f, other), "OK=1\nNAME=web\n"));
        ck_assert_ptr_null(strstr(client_receive(f, other), "OFFER=1"));
        offer(f, client, OFFER, lent(f, "web"), "ERROR=EEXIST\n");
        close_fd(other);
        close_fd(client);
        fixture_free(f);
}
END_TEST

SUITE("offer", {
        TEST(what_was_lent_is_taken_once);
        TEST(what_is_no_listener_of_ours_is_refused);
        TEST(a_listener_of_another_network_is_refused);
        TEST(who_may_not_hold_it_may_not_offer_it);
        TEST(everything_else_waits_until_the_start_is_over);
})
