/* What is seen of a server that waits for connections in each of the usual ways. */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/health.h"
#include "components/listener_inodes.h"
#include "core/worker.h"
#include "sockets_support.h"
#include "support.h"
#include "tree_support.h"

static struct loop *loop;
static struct worker_pool workers;
static int listening, other; /* the one that is looked for, and one that is not */
static bool accepted;        /* is to count */
static enum evidence found;
static bool asked;
static unsigned searches;

static void on_found(void *owner, const char *result, size_t size) {
        found = evidence_read(result, size, &asked);
        searches++;
}

static uint64_t inode_of(int fd) {
        struct stat st;

        ck_assert_int_eq(fstat(fd, &st), 0);
        return st.st_ino;
}

static enum evidence search(const struct process_tree *tree) {
        struct worker *s = NULL;
        struct listener_inodes inodes = {2, {1, inode_of(listening)}};
        unsigned before = searches;

        ck_assert_int_eq(
                evidence_search_start(&s, &workers, tree, &inodes, accepted, on_found, NULL), 0);
        RUN_UNTIL(loop, searches > before);
        return found;
}

static void forget(void *unused) {
        close(listening);
        pause();
}

static void hold(void *unused) {
        pause();
}

static void accept_blocking(void *unused) {
        (void) accept4(listening, NULL, NULL, SOCK_CLOEXEC);
}

static void accept_other(void *unused) {
        (void) accept4(other, NULL, NULL, SOCK_CLOEXEC);
}

static void *accept_in_thread(void *unused) {
        accept_blocking(NULL);
        return NULL;
}

static void start_thread(void *unused) {
        pthread_t thread;

        (void) pthread_create(&thread, NULL, accept_in_thread, NULL);
        pause();
}

static void accept_in_worker(void *unused) {
        if (fork() == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                accept_blocking(NULL);
        }
        close(listening);
        pause();
}

static int set_of(int fd, uint32_t events) {
        struct epoll_event event = {.events = events};
        int set = epoll_create1(EPOLL_CLOEXEC);

        (void) epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
        return set;
}

static void wait_in_epoll(int fd, uint32_t events) {
        struct epoll_event event;

        (void) epoll_wait(set_of(fd, events), &event, 1, -1);
}

static void epoll(void *unused) {
        wait_in_epoll(listening, EPOLLIN | EPOLLET);
}

static void epoll_other(void *unused) {
        wait_in_epoll(other, EPOLLIN);
}

static void epoll_for_errors(void *unused) {
        wait_in_epoll(listening, EPOLLRDHUP);
}

/* A loop that was set up, and hangs in something else. */
static void epoll_unasked(void *unused) {
        (void) set_of(listening, EPOLLIN);
        pause();
}

static void epoll_unasked_beside_another(void *unused) {
        (void) set_of(listening, EPOLLIN);
        wait_in_epoll(other, EPOLLIN);
}

static void *epoll_in_thread(void *unused) {
        epoll(NULL);
        return NULL;
}

static void start_epoll_thread(void *unused) {
        pthread_t thread;

        (void) pthread_create(&thread, NULL, epoll_in_thread, NULL);
        pause();
}

static void epoll_pwait_it(void *unused) {
        struct epoll_event event;

        (void) epoll_pwait(set_of(listening, EPOLLIN), &event, 1, -1, &(sigset_t){0});
}

static void poll_set(void *unused) {
        struct pollfd p = {.fd = set_of(listening, EPOLLIN), .events = POLLIN};

        (void) poll(&p, 1, -1);
}

static void poll_both(void *unused) {
        struct pollfd p[2] = {{.fd = other, .events = POLLIN}, {.fd = listening, .events = POLLIN}};

        (void) poll(p, 2, -1);
}

static void poll_other(void *unused) {
        struct pollfd p = {.fd = other, .events = POLLIN};

        (void) ppoll(&p, 1, NULL, NULL);
}

static void select_on(int fd) {
        fd_set set;

        FD_ZERO(&set);
        FD_SET(fd, &set);
        (void) select(fd + 1, &set, NULL, NULL, NULL);
}

static void select_it(void *unused) {
        select_on(listening);
}

static void select_set(void *unused) {
        select_on(set_of(listening, EPOLLIN));
}

static void select_other(void *unused) {
        select_on(other);
}

/* As a server does that always has something to do: it waits a sixth of its time. */
static void busy(void *unused) {
        struct pollfd p = {.fd = listening, .events = POLLIN};

        for (;;) {
                (void) usleep(5000);
                (void) poll(&p, 1, 1);
        }
}

/* The ring. A request for connections is there when it is submitted. */
static int submit_accept(int fd) {
        struct io_uring_params p = {0};
        int ring = (int) syscall(SYS_io_uring_setup, 1, &p);
        struct io_uring_sqe *entries;
        char *queue;

        ck_assert_int_ge(ring, 0);
        queue = mmap(NULL, p.sq_off.array + sizeof(unsigned), PROT_READ | PROT_WRITE, MAP_SHARED,
                     ring, IORING_OFF_SQ_RING);
        entries = mmap(NULL, sizeof(*entries), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                       IORING_OFF_SQES);
        ck_assert(queue != MAP_FAILED && entries != MAP_FAILED);
        *entries = (struct io_uring_sqe){.opcode = IORING_OP_ACCEPT, .fd = fd};
        memcpy(queue + p.sq_off.tail, &(unsigned){1}, sizeof(unsigned));
        ck_assert_int_eq(syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0), 1);
        return ring;
}

static void wait_for_ring(int ring) {
        (void) syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
}

static void ring(void *unused) {
        close(other);
        wait_for_ring(submit_accept(listening));
}

static void poll_ring(void *unused) {
        struct pollfd p = {.events = POLLIN};

        close(other);
        p.fd = submit_accept(listening);
        (void) poll(&p, 1, -1);
}

static void ring_unasked(void *unused) {
        close(other);
        (void) submit_accept(listening);
        pause();
}

/* Nobody can tell on which of the two. */
static void ring_of_two(void *unused) {
        wait_for_ring(submit_accept(listening));
}

static void ring_other(void *unused) {
        wait_for_ring(submit_accept(other));
}

/*
 * What waits comes to wait in a moment, so what is expected is searched for until it is there; what
 * must not be seen is looked for when the process sleeps for good.
 */
static bool sleeps(pid_t pid) {
        char path[64], state = '?';
        FILE *stat;

        (void) snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
        stat = fopen(path, "re");
        ck_assert_ptr_nonnull(stat);
        ck_assert_int_eq(fscanf(stat, "%*d (%*[^)]) %c", &state), 1);
        fclose(stat);
        return state == 'S';
}

static void expect(void (*body)(void *), enum evidence expected) {
        struct test_tree t;
        enum evidence best = EVIDENCE_NONE;

        test_tree_start(&t, loop, body, NULL);
        while (best < expected)
                best = search(&t.tree);
        ck_assert_int_eq(best, expected);
        if (expected <= EVIDENCE_HOLDS) {
                while (!sleeps(t.tree.pid))
                        ;
                ck_assert_int_eq(search(&t.tree), expected);
        }
        test_tree_end(&t);
}

static void set_up(int fd) {
        ck_assert_int_eq(loop_new(&loop), 0);
        worker_pool_init(&workers, loop);
        listening = fd;
        other = test_tcp_listener();
}

static void tear_down(void) {
        close(listening);
        close(other);
        worker_pool_clear(&workers);
        loop_free(loop);
}

static void expect_all(int fd) {
        set_up(fd);
        expect(hold, EVIDENCE_HOLDS);
        expect(epoll, EVIDENCE_WATCHES);
        expect(poll_both, EVIDENCE_WATCHES);
        expect(select_it, EVIDENCE_WATCHES);
        expect(accept_blocking, EVIDENCE_ACCEPTS);
        tear_down();
}

START_TEST(each_way_to_wait_for_connections_is_seen) {
        expect_all(test_tcp_listener());
        expect_all(test_unix_listener(test_path("web.sock")));
}
END_TEST

static bool has_rings(void) {
        bool has = true;
        struct io_uring_params p = {0};
        int fd = (int) syscall(SYS_io_uring_setup, 1, &p);

        if (fd < 0) {
                fprintf(stderr, "not tested, io_uring is not to be had: %s\n", strerror(errno));
                has = false;
        }
        close_fd(fd);
        return has;
}

static void expect_to_be_asked(void (*body)(void *)) {
        struct test_tree t;

        test_tree_start(&t, loop, body, NULL);
        while (search(&t.tree) != EVIDENCE_HOLDS || !asked)
                ;
        test_tree_end(&t);
}

static void expect_rings(int fd) {
        set_up(fd);
        expect(ring, EVIDENCE_WATCHES);
        expect(poll_ring, EVIDENCE_WATCHES);
        expect(ring_unasked, EVIDENCE_HOLDS);
        ck_assert(!asked);
        expect_to_be_asked(ring_of_two);
        expect_to_be_asked(ring_other);
        expect(hold, EVIDENCE_HOLDS);
        ck_assert(!asked);
        tear_down();
}

START_TEST(who_accepts_by_io_uring_is_seen_unless_it_may_be_on_another_socket) {
        if (!has_rings())
                return;
        expect_rings(test_tcp_listener());
        expect_rings(test_unix_listener(test_path("web.sock")));
}
END_TEST

START_TEST(threads_and_workers_count) {
        set_up(test_tcp_listener());
        expect(start_thread, EVIDENCE_ACCEPTS);
        expect(accept_in_worker, EVIDENCE_ACCEPTS);
        expect(start_epoll_thread, EVIDENCE_WATCHES);
        tear_down();
}
END_TEST

START_TEST(waiting_for_another_listener_proves_nothing) {
        set_up(test_tcp_listener());
        expect(accept_other, EVIDENCE_HOLDS);
        expect(epoll_other, EVIDENCE_HOLDS);
        expect(poll_other, EVIDENCE_HOLDS);
        expect(select_other, EVIDENCE_HOLDS);
        expect(epoll_for_errors, EVIDENCE_HOLDS);
        tear_down();
}
END_TEST

START_TEST(an_epoll_set_counts_when_somebody_asks_it) {
        set_up(test_tcp_listener());
        expect(epoll_pwait_it, EVIDENCE_WATCHES);
        expect(poll_set, EVIDENCE_WATCHES);
        expect(select_set, EVIDENCE_WATCHES);
        expect(epoll_unasked, EVIDENCE_HOLDS);
        expect(epoll_unasked_beside_another, EVIDENCE_HOLDS);
        tear_down();
}
END_TEST

START_TEST(a_busy_server_is_seen_to_wait_now_and_then) {
        struct test_tree t;
        unsigned seen = 0;

        set_up(test_tcp_listener());
        test_tree_start(&t, loop, busy, NULL);
        /* One look each would find it five times; a server that waits for a processor waits for
         * nothing else meanwhile, which a busy machine gives no end to. */
        for (unsigned tries = 0; tries < 20 && seen < 15; tries++) {
                seen = 0;
                for (unsigned k = 0; k < 30; k++)
                        seen += search(&t.tree) == EVIDENCE_WATCHES;
        }
        ck_assert_uint_ge(seen, 15);
        test_tree_end(&t);
        tear_down();
}
END_TEST

static void accept_and_hold(void *unused) {
        ck_assert_int_ge(accept4(listening, NULL, NULL, SOCK_CLOEXEC), 0);
        hold(NULL);
}

/* It serves one connection at a time, and this one for long. */
static void expect_connection(int fd) {
        struct sockaddr_storage address;
        socklen_t size = sizeof(address);
        struct test_tree t;
        int client;

        set_up(fd);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &address, &size), 0);
        client = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(connect(client, (struct sockaddr *) &address, size), 0);
        test_tree_start(&t, loop, hold, NULL);
        accepted = true;
        ck_assert_int_eq(search(&t.tree), EVIDENCE_HOLDS); /* it waits: nobody has accepted it */
        test_tree_end(&t);
        test_tree_start(&t, loop, accept_and_hold, NULL);
        while (search(&t.tree) != EVIDENCE_SERVES)
                ;
        accepted = false;
        ck_assert_int_eq(search(&t.tree), EVIDENCE_HOLDS);
        test_tree_end(&t);
        close(client);
        tear_down();
}

START_TEST(a_connection_that_it_has_accepted_counts_when_that_is_asked) {
        expect_connection(test_tcp_listener());
        expect_connection(test_unix_listener(test_path("web.sock")));
}
END_TEST

START_TEST(who_does_not_hold_it_has_no_evidence) {
        set_up(test_tcp_listener());
        struct test_tree t;

        test_tree_start(&t, loop, forget, NULL);
        while (search(&t.tree) != EVIDENCE_NONE)
                ;
        test_tree_end(&t);
        tear_down();
}
END_TEST

START_TEST(a_stopped_search_is_silent) {
        struct worker *s = NULL;
        struct listener_inodes inode = {.count = 1};
        struct test_tree t;

        set_up(test_tcp_listener());
        inode.of[0] = inode_of(listening);
        test_tree_start(&t, loop, hold, NULL);
        searches = 0;
        ck_assert_int_eq(
                evidence_search_start(&s, &workers, &t.tree, &inode, false, on_found, NULL), 0);
        s = worker_stop(s);
        test_tree_end(&t);
        ck_assert_uint_eq(searches, 0);
        tear_down();
}
END_TEST

SUITE("evidence", {
        TEST(each_way_to_wait_for_connections_is_seen);
        TEST(who_accepts_by_io_uring_is_seen_unless_it_may_be_on_another_socket);
        TEST(threads_and_workers_count);
        TEST(waiting_for_another_listener_proves_nothing);
        TEST(an_epoll_set_counts_when_somebody_asks_it);
        TEST(a_busy_server_is_seen_to_wait_now_and_then);
        TEST(a_connection_that_it_has_accepted_counts_when_that_is_asked);
        TEST(who_does_not_hold_it_has_no_evidence);
        TEST(a_stopped_search_is_silent);
})
