/* Queue lengths of held sockets, with connections that nobody accepts. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "sockets/queue.h"
#include "sockets/queue_map.h"
#include "sockets_support.h"
#include "support.h"

static void expect(int fd, unsigned length, unsigned limit) {
        struct queue queue;

        ck_assert_int_eq(queue_read(fd, &queue), 0);
        ck_assert_uint_eq(queue.length, length);
        ck_assert_uint_eq(queue.limit, limit);
}

START_TEST(waiting_tcp_connections_are_counted) {
        _cleanup_close_ int fd = test_tcp_listener();
        unsigned port = test_port_of(fd);
        int server;

        expect(fd, 0, TEST_BACKLOG);
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(test_tcp_connect(port), 0);
        expect(fd, 3, TEST_BACKLOG);
        server = accept(fd, NULL, NULL);
        ck_assert_int_ge(server, 0);
        close(server);
        expect(fd, 2, TEST_BACKLOG);
        ck_assert_int_eq(listen(fd, 5), 0);
        expect(fd, 2, 5);
}
END_TEST

START_TEST(dropped_tcp_connections_are_counted) {
        _cleanup_close_ int fd = test_tcp_listener();
        struct sockaddr_in in;
        socklen_t size = sizeof(in);
        struct queue queue;
        int clients[4];

        ck_assert_int_eq(listen(fd, 0), 0);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &in, &size), 0);
        for (int i = 0; i < 4; i++) {
                clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                ck_assert_int_ge(clients[i], 0);
                (void) connect(clients[i], (struct sockaddr *) &in, sizeof(in));
        }
        /* Over loopback the SYN is handled within connect(2). */
        ck_assert_int_eq(queue_read(fd, &queue), 0);
        ck_assert_uint_eq(queue.length, 1);
        ck_assert_uint_eq(queue.drops, 3);
        for (int i = 0; i < 4; i++)
                close(clients[i]);
}
END_TEST

/* The kernel drops, and counts, the end of each handshake: what it waits for is data. */
START_TEST(what_is_deferred_is_not_taken_for_dropped) {
        _cleanup_close_ int fd = test_tcp_listener();
        struct queue queue;
        int seconds = 5;

        ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)),
                         0);
        ck_assert_int_eq(test_tcp_connect(test_port_of(fd)), 0);
        ck_assert_int_eq(queue_read(fd, &queue), 0);
        ck_assert_uint_eq(queue.drops, QUEUE_DROPS_UNKNOWN);
}
END_TEST

START_TEST(waiting_unix_connections_are_counted) {
        const char *path = test_path("web.sock");
        _cleanup_close_ int fd = test_unix_listener(path);
        int server;

        expect(fd, 0, TEST_BACKLOG);
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(test_unix_connect(path, SOCK_STREAM), 0);
        expect(fd, 3, TEST_BACKLOG);
        server = accept(fd, NULL, NULL);
        ck_assert_int_ge(server, 0);
        close(server);
        expect(fd, 2, TEST_BACKLOG);
}
END_TEST

static ino_t inode_of(int fd) {
        struct stat st;

        ck_assert_int_eq(fstat(fd, &st), 0);
        return st.st_ino;
}

START_TEST(the_queues_of_many_unix_sockets_are_read_in_parts) {
        enum { COUNT = 1000 }; /* more than one part holds */
        int fds[COUNT], tcp = test_tcp_listener(), late, r, parts = 0;
        struct queue_map *map;
        struct queue queue;
        char name[32];

        for (int i = 0; i < COUNT; i++) {
                (void) snprintf(name, sizeof(name), "s%d", i);
                fds[i] = test_unix_listener(test_path(name));
                for (int j = 0; j < i % 3; j++)
                        ck_assert_int_eq(test_unix_connect(test_path(name), SOCK_STREAM), 0);
        }
        ck_assert_int_eq(queue_map_new(&map), 0);
        while ((r = queue_map_read(map)) == 0)
                parts++;
        ck_assert_int_eq(r, 1);
        ck_assert_int_gt(parts, 1);
        for (int i = 0; i < COUNT; i++) {
                ck_assert(queue_map_find(map, inode_of(fds[i]), &queue));
                ck_assert_uint_eq(queue.length, (unsigned) i % 3);
                ck_assert_uint_eq(queue.limit, TEST_BACKLOG);
                close(fds[i]);
        }
        late = test_unix_listener(test_path("late"));
        ck_assert(!queue_map_find(map, inode_of(late), &queue));
        ck_assert(!queue_map_find(map, inode_of(tcp), &queue));
        close(late);
        close(tcp);
        queue_map_free(map);
}
END_TEST

START_TEST(what_does_not_listen_has_no_queue) {
        _cleanup_close_ int tcp = test_tcp_bound(0), pair = -1, udp = -1;
        struct queue queue = {.length = 77};
        int fds[2];

        ck_assert_int_eq(queue_read(tcp, &queue), -EINVAL);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        pair = fds[1];
        ck_assert_int_eq(queue_read(fds[0], &queue), -EINVAL);
        close(fds[0]);
        udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(queue_read(udp, &queue), -EOPNOTSUPP);
        ck_assert_int_eq(queue_read(-1, &queue), -EBADF);
        ck_assert_uint_eq(queue.length, 77);
}
END_TEST

SUITE("queue", {
        TEST(waiting_tcp_connections_are_counted);
        TEST(dropped_tcp_connections_are_counted);
        TEST(what_is_deferred_is_not_taken_for_dropped);
        TEST(waiting_unix_connections_are_counted);
        TEST(the_queues_of_many_unix_sockets_are_read_in_parts);
        TEST(what_does_not_listen_has_no_queue);
})
