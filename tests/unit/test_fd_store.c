/*
 * The broker's side of the fd store: what is pushed arrives in order and with its id, a side that
 * does not read delays nobody, and a lost one is replaced without losing a barrier.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/inherited.h"
#include "keeper/fd_store.h"
#include "keeper/link.h"
#include "support.h"

struct side {
        struct loop *loop;
        struct fd_store *store;
        int other;
        int done;
        int lost;
};

static struct message m;

static void count_done(void *owner) {
        ((struct side *) owner)->done++;
}

static void count_lost(void *owner) {
        ((struct side *) owner)->lost++;
}

static void begin(struct side *s) {
        int link_fd;

        *s = (struct side){0};
        ck_assert_int_eq(loop_new(&s->loop), 0);
        ck_assert_int_eq(link_new(&s->other, &link_fd), 0);
        ck_assert_int_eq(
                fd_store_new(&s->store, FD_STORE_KEEPER, link_fd, s->loop, NULL, count_lost, s), 0);
}

static void end(struct side *s) {
        fd_store_free(s->store);
        close_fd(s->other);
        loop_free(s->loop);
}

/* The next packet as the keeper sees it, without its descriptors; "" when there is none. */
static const char *next(int fd, size_t fds) {
        static char text[MESSAGE_SIZE_MAX + 1];

        text[0] = '\0';
        if (message_receive(fd, &m) > 0) {
                memcpy(text, m.data, m.size);
                text[m.size] = '\0';
                ck_assert_uint_eq(m.fds.count, fds);
                message_clear(&m);
        }
        return text;
}

START_TEST(what_is_pushed_arrives_in_order) {
        struct side s;

        begin(&s);
        ck_assert_int_eq(fd_store_push(s.store, "l1", STDIN_FILENO, true), 0);
        ck_assert_int_eq(fd_store_remove(s.store, "l1"), 0);
        ck_assert_int_eq(fd_store_barrier(s.store, count_done, &s), 0);
        ck_assert(!fd_store_is_settled(s.store));
        ck_assert_str_eq(next(s.other, 1), "FDSTORE=1\nFDNAME=l1\n");
        ck_assert_str_eq(next(s.other, 0), "FDSTOREREMOVE=1\nFDNAME=l1\n");
        ck_assert_str_eq(next(s.other, 0), "BARRIER=1\n");
        ck_assert_int_eq(s.done, 0);
        ck_assert_int_eq(message_send(s.other, "BARRIER=1", 9, NULL, 0), 0);
        loop_run_once(s.loop, true);
        ck_assert_int_eq(s.done, 1);
        ck_assert(fd_store_is_settled(s.store));
        end(&s);
}
END_TEST

static void push_many(struct side *s, int first, int count) {
        char id[STATE_ID_SIZE];

        for (int i = first; i < first + count; i++) {
                (void) snprintf(id, sizeof(id), "l%d", i);
                ck_assert_int_eq(fd_store_push(s->store, id, STDIN_FILENO, true), 0);
        }
}

static void expect_many(struct side *s, int first, int count) {
        char expected[64];

        for (int i = first; i < first + count; i++) {
                const char *text;
                while (*(text = next(s->other, 1)) == '\0')
                        loop_run_once(s->loop, true);
                (void) snprintf(expected, sizeof(expected), "FDSTORE=1\nFDNAME=l%d\n", i);
                ck_assert_str_eq(text, expected);
        }
}

/* Without a duplicate for each: there are no numbers for so many. */
START_TEST(a_side_that_does_not_read_is_waited_for_in_our_own_memory) {
        struct rlimit few;
        struct side s;

        begin(&s);
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &few), 0);
        few.rlim_cur = 32;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
        push_many(&s, 0, 5000);
        expect_many(&s, 0, 5000);
        ck_assert(fd_store_is_settled(s.store));
        end(&s);
}
END_TEST

/* So many that the other side's queue is full. */
#define MANY 2000

START_TEST(what_is_removed_while_it_waits_is_never_sent) {
        struct side s;

        begin(&s);
        push_many(&s, 0, MANY);
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        ck_assert_int_eq(fd_store_push(s.store, "h1", fd, true), 0);
        ck_assert_int_eq(fd_store_remove(s.store, "h1"), 0);
        close_fd(fd);
        expect_many(&s, 0, MANY);
        loop_run_once(s.loop, false);
        ck_assert_str_eq(next(s.other, 0), "");
        ck_assert(fd_store_is_settled(s.store));
        end(&s);
}
END_TEST

START_TEST(what_the_other_side_has_is_taken_back_from_it) {
        struct side s;

        begin(&s);
        push_many(&s, 0, MANY);
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        ck_assert_int_eq(fd_store_push(s.store, "l0", fd, false), 0);
        ck_assert_int_eq(fd_store_remove(s.store, "l0"), 0);
        close_fd(fd);
        expect_many(&s, 0, MANY);
        loop_run_once(s.loop, false);
        ck_assert_str_eq(next(s.other, 0), "FDSTOREREMOVE=1\nFDNAME=l0\n");
        ck_assert_str_eq(next(s.other, 0), "");
        end(&s);
}
END_TEST

START_TEST(of_two_pushes_under_one_id_the_first_is_not_sent_when_it_waits) {
        int ends[2];
        struct side s;

        begin(&s);
        push_many(&s, 0, MANY);
        ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
        ck_assert_int_eq(fd_store_push(s.store, "c1", ends[0], true), 0);
        ck_assert_int_eq(fd_store_push(s.store, "c1", STDIN_FILENO, false), 0);
        close_fd(ends[0]);
        close_fd(ends[1]);
        expect_many(&s, 0, MANY);
        loop_run_once(s.loop, false);
        ck_assert_str_eq(next(s.other, 1), "FDSTORE=1\nFDNAME=c1\n");
        ck_assert_str_eq(next(s.other, 0), "");
        end(&s);
}
END_TEST

/* Else a program that comes and goes would fill our memory while nobody reads. */
START_TEST(what_comes_and_goes_while_nobody_reads_leaves_nothing) {
        struct mallinfo2 before;
        struct side s;

        begin(&s);
        push_many(&s, 0, MANY);
        before = mallinfo2();
        for (int i = 0; i < 100000; i++) {
                ck_assert_int_eq(fd_store_push(s.store, "h1", STDIN_FILENO, true), 0);
                ck_assert_int_eq(fd_store_remove(s.store, "h1"), 0);
        }
        ck_assert_uint_le(mallinfo2().uordblks, before.uordblks + 4096);
        end(&s);
}
END_TEST

START_TEST(a_lost_keeper_is_told_and_its_barriers_are_asked_of_the_next) {
        struct side s;
        int link_fd;

        begin(&s);
        ck_assert_int_eq(fd_store_push(s.store, "l1", STDIN_FILENO, true), 0);
        ck_assert_int_eq(fd_store_barrier(s.store, count_done, &s), 0);
        s.other = close_fd(s.other);
        loop_run_once(s.loop, true);
        ck_assert_int_eq(s.lost, 1);
        ck_assert_int_eq(fd_store_push(s.store, "l2", STDIN_FILENO, true), 0); /* to nobody */
        ck_assert_int_eq(fd_store_barrier(s.store, count_done, &s), 0);
        ck_assert_int_eq(s.done, 0);
        ck_assert_int_eq(link_new(&s.other, &link_fd), 0);
        fd_store_reconnect(s.store, link_fd);
        ck_assert_int_eq(fd_store_push(s.store, "l1", STDIN_FILENO, true), 0);
        fd_store_refilled(s.store);
        ck_assert_str_eq(next(s.other, 1), "FDSTORE=1\nFDNAME=l1\n");
        ck_assert_str_eq(next(s.other, 0), "BARRIER=2\n");
        ck_assert_str_eq(next(s.other, 0), "BARRIER=3\n");
        ck_assert_int_eq(message_send(s.other, "BARRIER=2", 9, NULL, 0), 0);
        ck_assert_int_eq(message_send(s.other, "BARRIER=3", 9, NULL, 0), 0);
        loop_run_once(s.loop, true);
        loop_run_once(s.loop, true);
        ck_assert_int_eq(s.done, 2);
        end(&s);
}
END_TEST

START_TEST(barriers_are_bounded_and_can_be_cancelled) {
        struct side s;

        begin(&s);
        for (int i = 0; i < FD_STORE_BARRIERS_MAX; i++)
                ck_assert_int_eq(fd_store_barrier(s.store, count_done, &s), 0);
        ck_assert_int_eq(fd_store_barrier(s.store, count_done, &s), -EBUSY);
        fd_store_cancel_barriers(s.store, &s);
        ck_assert_int_eq(message_send(s.other, "BARRIER=1", 9, NULL, 0), 0);
        loop_run_once(s.loop, true);
        ck_assert_int_eq(s.done, 0);
        end(&s);
}
END_TEST

START_TEST(without_a_store_nothing_is_kept_and_nothing_waits) {
        struct side s = {0};

        ck_assert_int_eq(loop_new(&s.loop), 0);
        ck_assert_int_eq(fd_store_new(&s.store, FD_STORE_NONE, -1, s.loop, NULL, NULL, NULL), 0);
        ck_assert_int_eq(fd_store_push(s.store, "l1", STDIN_FILENO, true), 0);
        ck_assert_int_eq(fd_store_barrier(s.store, count_done, &s), 0);
        ck_assert_int_eq(s.done, 1);
        s.other = -1;
        end(&s);
}
END_TEST

/* systemd's side is a datagram socket. */
static void begin_systemd(struct side *s) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};

        *s = (struct side){0};
        ck_assert_int_eq(loop_new(&s->loop), 0);
        (void) snprintf(a.sun_path, sizeof(a.sun_path), "%s", test_path("notify"));
        s->other = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(bind(s->other, (struct sockaddr *) &a, sizeof(a)), 0);
        ck_assert_int_eq(setenv("NOTIFY_SOCKET", a.sun_path, 1), 0);
        ck_assert_int_eq(fd_store_new(&s->store, FD_STORE_SYSTEMD, -1, s->loop, NULL, NULL, NULL),
                         0);
}

static int next_with_fd(struct side *s, const char *expected) {
        ck_assert_int_eq(message_receive(s->other, &m), 1);
        ck_assert_uint_eq(m.size, strlen(expected));
        ck_assert(memcmp(m.data, expected, m.size) == 0);
        return fd_list_take_fd(&m.fds, 0);
}

/* FDPOLL=0 on each push, a probe, and a pipe that is closed as barrier. */
START_TEST(systemd_gets_its_own_form) {
        struct side s;
        int probe, barrier;

        begin_systemd(&s);
        ck_assert_int_eq(fd_store_push(s.store, "l1", STDIN_FILENO, true), 0);
        ck_assert_int_eq(fd_store_barrier(s.store, count_done, &s), 0);
        ck_assert_str_eq(next(s.other, 1), "FDSTORE=1\nFDNAME=l1\nFDPOLL=0\n");
        probe = next_with_fd(&s, "FDSTORE=1\nFDNAME=probe\nFDPOLL=0\n");
        barrier = next_with_fd(&s, "BARRIER=1");
        loop_run_once(s.loop, false);
        ck_assert_int_eq(s.done, 0);
        close_fd(barrier);
        loop_run_once(s.loop, true);
        ck_assert_int_eq(s.done, 1);
        ck_assert(!fd_store_is_full(s.store));
        ck_assert_str_eq(next(s.other, 0), "FDSTOREREMOVE=1\nFDNAME=probe\n");
        close_fd(probe);
        end(&s);
}
END_TEST

START_TEST(a_probe_that_systemd_does_not_keep_tells_that_it_is_full) {
        struct side s;

        begin_systemd(&s);
        for (int full = 1; full >= 0; full--) {
                ck_assert_int_eq(fd_store_barrier(s.store, count_done, &s), 0);
                int probe = next_with_fd(&s, "FDSTORE=1\nFDNAME=probe\nFDPOLL=0\n");
                int barrier = next_with_fd(&s, "BARRIER=1");
                if (full)
                        probe = close_fd(probe);
                close_fd(barrier);
                loop_run_once(s.loop, true);
                ck_assert_int_eq(fd_store_is_full(s.store), full);
                ck_assert_str_eq(next(s.other, 0), "FDSTOREREMOVE=1\nFDNAME=probe\n");
                close_fd(probe);
        }
        ck_assert_int_eq(s.done, 2);
        end(&s);
}
END_TEST

static void send_names(int keeper, const char *names, size_t fds) {
        struct packet_writer w;
        int numbers[4] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, STDIN_FILENO};

        packet_begin(&w);
        packet_add(&w, "FDNAMES", names);
        ck_assert_int_eq(message_send(keeper, w.data, w.size, numbers, fds), 0);
}

START_TEST(what_the_keeper_keeps_is_received_whole) {
        struct inherited *all;
        int keeper, broker;

        ck_assert_int_eq(inherited_new(&all), 0);
        ck_assert_int_eq(link_new(&keeper, &broker), 0);
        send_names(keeper, "state:l1:h2", 3);
        send_names(keeper, "c3", 1);
        ck_assert_int_eq(message_send(keeper, "END=1", 5, NULL, 0), 0);
        ck_assert_int_eq(link_receive_kept(broker, all), 0);
        ck_assert_uint_eq(inherited_count(all), 4);
        ck_assert_str_eq(inherited_name(all, 0), "state");
        ck_assert_str_eq(inherited_name(all, 2), "h2");
        ck_assert_str_eq(inherited_name(all, 3), "c3");
        close_fd(keeper);
        ck_assert_int_eq(link_receive_kept(broker, all), -ECONNRESET);
        close_fd(broker);
        inherited_free(all);
}
END_TEST

static const struct batch {
        const char *names;
        size_t fds;
} malformed[] = {{"l1:l2", 1}, {"l1", 2}, {"l1::l2", 3}, {"", 1}, {":l1", 2}};

/* Whatever is wrong in it, no descriptor of it stays open; support.c counts them. */
START_TEST(names_that_do_not_fit_the_descriptors_are_refused) {
        struct inherited *all;
        int keeper, broker;

        ck_assert_int_eq(inherited_new(&all), 0);
        ck_assert_int_eq(link_new(&keeper, &broker), 0);
        send_names(keeper, malformed[_i].names, malformed[_i].fds);
        ck_assert_int_eq(link_receive_kept(broker, all), -EBADMSG);
        close_fd(keeper);
        close_fd(broker);
        inherited_free(all);
}
END_TEST

SUITE("fd_store", {
        TEST(what_is_pushed_arrives_in_order);
        TEST(a_side_that_does_not_read_is_waited_for_in_our_own_memory);
        TEST(what_is_removed_while_it_waits_is_never_sent);
        TEST(what_the_other_side_has_is_taken_back_from_it);
        TEST(of_two_pushes_under_one_id_the_first_is_not_sent_when_it_waits);
        TEST(what_comes_and_goes_while_nobody_reads_leaves_nothing);
        TEST(a_lost_keeper_is_told_and_its_barriers_are_asked_of_the_next);
        TEST(barriers_are_bounded_and_can_be_cancelled);
        TEST(without_a_store_nothing_is_kept_and_nothing_waits);
        TEST(systemd_gets_its_own_form);
        TEST(a_probe_that_systemd_does_not_keep_tells_that_it_is_full);
        TEST(what_the_keeper_keeps_is_received_whole);
        tcase_add_loop_test(tests_, names_that_do_not_fit_the_descriptors_are_refused, 0,
                            sizeof(malformed) / sizeof(malformed[0]));
})
