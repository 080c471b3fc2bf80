/*
 * What the defences of broker/sockets rely on, asked of this kernel. A failure here means that the
 * kernel differs from what docs/hazards.md and the comments say; the defence beside it then needs a
 * new look, whether or not its own test still passes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sockets/queue.h"
#include "sockets/socket_diag.h"
#include "sockets_support.h"
#include "support.h"

/* An epoll set that asks for EPOLLRDHUP alone. */
static int hang_up_set(int fd) {
        struct epoll_event event = {.events = EPOLLRDHUP};
        int set = epoll_create1(EPOLL_CLOEXEC);

        ck_assert_int_eq(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), 0);
        return set;
}

static int hang_ups(int set) {
        struct epoll_event event;

        return epoll_wait(set, &event, 1, 0);
}

/* ---- shutdown of a TCP listener ---- */

START_TEST(tcp_shutdown_by_one_holder_ends_it_for_all_and_listen_mends_it) {
        int fd = test_tcp_listener(), holder = test_holder_of(fd), set = hang_up_set(fd);
        unsigned port = test_port_of(fd);

        ck_assert_int_eq(shutdown(holder, SHUT_RD), 0);
        close(holder);
        ck_assert_int_eq(test_is_accepting(fd), 0);
        ck_assert_int_eq(test_tcp_connect(port), ECONNREFUSED);
        ck_assert_int_eq(hang_ups(set), 1);

        ck_assert_uint_eq(test_port_of(fd), port);
        ck_assert_int_eq(listen(fd, TEST_BACKLOG), 0);
        ck_assert_int_eq(test_is_accepting(fd), 1);
        ck_assert_int_eq(test_tcp_connect(port), 0);
        ck_assert_int_eq(hang_ups(set), 0); /* the hang-up goes with the cause */
        close(set);
        close(fd);
}
END_TEST

START_TEST(tcp_shutdown_for_writing_does_nothing) {
        int fd = test_tcp_listener();

        ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
        ck_assert_int_eq(test_is_accepting(fd), 1);
        ck_assert_int_eq(test_tcp_connect(test_port_of(fd)), 0);
        close(fd);
}
END_TEST

START_TEST(tcp_disconnect_is_a_shutdown_and_keeps_an_explicit_address) {
        int fd = test_tcp_listener(), set = hang_up_set(fd);
        unsigned port = test_port_of(fd);
        struct sockaddr_in in;
        socklen_t size = sizeof(in);

        ck_assert_int_eq(test_disconnect(fd), 0);
        ck_assert_int_eq(test_is_accepting(fd), 0);
        ck_assert_int_eq(hang_ups(set), 1);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &in, &size), 0);
        ck_assert_uint_eq(ntohs(in.sin_port), port);
        ck_assert_uint_eq(ntohl(in.sin_addr.s_addr), INADDR_LOOPBACK);
        ck_assert_int_eq(listen(fd, TEST_BACKLOG), 0);
        ck_assert_int_eq(test_tcp_connect(port), 0);
        close(set);
        close(fd);
}
END_TEST

START_TEST(tcp_shutdown_of_a_port_0_bind_gives_the_port_away) {
        int fd = test_tcp_bound(0), thief;
        unsigned port = test_port_of(fd);

        ck_assert_int_eq(listen(fd, TEST_BACKLOG), 0);
        ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
        ck_assert_uint_eq(test_port_of(fd), port); /* says so, but does not have it any more */
        thief = test_tcp_bound(port);
        ck_assert_int_eq(listen(thief, TEST_BACKLOG), 0);
        ck_assert_int_eq(listen(fd, TEST_BACKLOG), 0);
        ck_assert_uint_ne(test_port_of(fd), port); /* hence: ask after listen(), not before */
        close(thief);
        close(fd);
}
END_TEST

START_TEST(tcp_port_can_be_taken_between_shutdown_and_listen) {
        int fd = test_tcp_listener(), thief;

        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        thief = test_tcp_bound(test_port_of(fd));
        ck_assert_int_eq(listen(thief, TEST_BACKLOG), 0);
        ck_assert_int_lt(listen(fd, TEST_BACKLOG), 0);
        ck_assert_int_eq(errno, EADDRINUSE);
        close(thief);
        ck_assert_int_eq(listen(fd, TEST_BACKLOG), 0);
        close(fd);
}
END_TEST

START_TEST(tcp_new_socket_can_be_bound_beside_one_that_was_shut_down) {
        int fd = test_tcp_listener(), fresh;

        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        fresh = test_tcp_bound(test_port_of(fd));
        ck_assert_int_eq(listen(fresh, TEST_BACKLOG), 0);
        ck_assert_int_eq(test_tcp_connect(test_port_of(fresh)), 0);
        close(fresh);
        close(fd);
}
END_TEST

/* ---- shutdown of a Unix listener ---- */

START_TEST(unix_shutdown_leaves_acceptconn_and_listen_does_not_mend_it) {
        const char *path = test_path("s");
        int fd = test_unix_listener(path), set = hang_up_set(fd);

        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        ck_assert_int_eq(test_is_accepting(fd), 1);
        ck_assert_int_eq(hang_ups(set), 1);
        ck_assert_int_eq(listen(fd, TEST_BACKLOG), 0);
        ck_assert_int_eq(test_unix_connect(path, SOCK_STREAM), ECONNREFUSED);
        ck_assert_int_eq(hang_ups(set), 1);
        close(set);
        close(fd);
}
END_TEST

START_TEST(unix_disconnect_is_refused) {
        int fd = test_unix_listener(test_path("s"));

        ck_assert_int_lt(test_disconnect(fd), 0);
        ck_assert_int_eq(errno, EINVAL);
        close(fd);
}
END_TEST

/* ---- watching ---- */

START_TEST(a_new_connection_does_not_wake_who_asks_for_hang_up_alone) {
        const char *path = test_path("s");
        int tcp = test_tcp_listener(), local = test_unix_listener(path);
        int inner = hang_up_set(tcp), outer = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = {.events = EPOLLRDHUP};
        struct epoll_event nested = {.events = EPOLLIN};

        ck_assert_int_eq(epoll_ctl(inner, EPOLL_CTL_ADD, local, &event), 0);
        ck_assert_int_eq(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &nested), 0);
        ck_assert_int_eq(test_tcp_connect(test_port_of(tcp)), 0);
        ck_assert_int_eq(test_unix_connect(path, SOCK_STREAM), 0);
        ck_assert_int_eq(hang_ups(outer), 0);
        ck_assert_int_eq(shutdown(local, SHUT_RD), 0);
        ck_assert_int_eq(hang_ups(outer), 1);
        close(outer);
        close(inner);
        close(local);
        close(tcp);
}
END_TEST

START_TEST(a_closed_descriptor_is_still_reported_while_another_holds_the_socket) {
        int fd = test_tcp_listener(), holder = test_holder_of(fd), set = hang_up_set(fd);

        close(fd);
        ck_assert_int_eq(shutdown(holder, SHUT_RD), 0);
        ck_assert_int_eq(hang_ups(set), 1);
        close(holder);
        close(set);
}
END_TEST

START_TEST(a_one_shot_watch_sleeps_after_a_report_and_looks_again_when_set_again) {
        int fd = test_tcp_listener(), set = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT};

        ck_assert_int_eq(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), 0);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        ck_assert_int_eq(hang_ups(set), 1);
        ck_assert_int_eq(hang_ups(set), 0);
        event.events = EPOLLRDHUP | EPOLLONESHOT;
        ck_assert_int_eq(epoll_ctl(set, EPOLL_CTL_MOD, fd, &event), 0);
        ck_assert_int_eq(hang_ups(set), 1);
        close(set);
        close(fd);
}
END_TEST

/* ---- what holders share ---- */

START_TEST(o_nonblock_belongs_to_all_holders) {
        int fd = test_tcp_listener(), holder = test_holder_of(fd);

        ck_assert_int_eq(fcntl(holder, F_SETFL, fcntl(holder, F_GETFL) | O_NONBLOCK), 0);
        close(holder);
        ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
        close(fd);
}
END_TEST

START_TEST(a_socket_cannot_be_opened_for_a_second_description) {
        int fd = test_tcp_listener();
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ck_assert_int_lt(open(path, O_RDWR | O_CLOEXEC), 0);
        ck_assert_int_eq(errno, ENXIO);
        close(fd);
}
END_TEST

START_TEST(tcp_info_of_a_listener_tells_its_queue_and_limit) {
        int fd = test_tcp_listener();
        struct tcp_info info;
        socklen_t size = sizeof(info);

        ck_assert_int_eq(test_tcp_connect(test_port_of(fd)), 0);
        ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
        ck_assert_uint_eq(info.tcpi_state, TCP_LISTEN);
        ck_assert_uint_eq(info.tcpi_unacked, 1);
        ck_assert_uint_eq(info.tcpi_sacked, TEST_BACKLOG);

        ck_assert_int_eq(listen(fd, 1), 0); /* by a holder, on the living listener */
        size = offsetof(struct tcp_info, tcpi_sacked) + sizeof(info.tcpi_sacked);
        ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
        ck_assert_uint_eq(info.tcpi_sacked, 1);
        ck_assert_uint_eq(info.tcpi_unacked, 1); /* the queue stays */
        close(fd);
}
END_TEST

START_TEST(accepted_connections_inherit_options_of_the_listener) {
        struct linger linger = {1, 7};
        socklen_t size = sizeof(linger);
        int fd = test_tcp_listener(), client, conn, value = 1;
        struct sockaddr_in in;
        socklen_t in_size = sizeof(in);

        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof(value)), 0);
        client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &in, &in_size), 0);
        ck_assert_int_eq(connect(client, (struct sockaddr *) &in, in_size), 0);
        conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        memset(&linger, 0, sizeof(linger));
        ck_assert_int_eq(getsockopt(conn, SOL_SOCKET, SO_LINGER, &linger, &size), 0);
        ck_assert_int_eq(linger.l_linger, 7);
        value = 0;
        size = sizeof(value);
        ck_assert_int_eq(getsockopt(conn, IPPROTO_TCP, TCP_NODELAY, &value, &size), 0);
        ck_assert_int_ne(value, 0);
        close(client);
        close(conn);
        close(fd);
}
END_TEST

START_TEST(a_locked_filter_cannot_be_removed_and_a_lock_alone_looks_alike) {
        struct sock_filter drop[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
        struct sock_fprog program = {1, drop};
        int fd = test_tcp_listener(), bare = test_tcp_listener(), on = 1;
        socklen_t count = 0;

        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &on, sizeof(on)), -1);
        ck_assert_int_eq(errno, ENOENT);
        /* Some kernels let only root attach one; what then cannot happen needs no defence. */
        if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0) {
                ck_assert_int_eq(errno, EPERM);
                ck_assert_uint_ne(geteuid(), 0);
                close(bare);
                close(fd);
                return;
        }
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof(on)), 0);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &on, sizeof(on)), -1);
        ck_assert_int_eq(errno, EPERM);
        ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &count), 0);
        ck_assert_uint_eq(count, 1);

        ck_assert_int_eq(setsockopt(bare, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof(on)), 0);
        ck_assert_int_eq(setsockopt(bare, SOL_SOCKET, SO_DETACH_FILTER, &on, sizeof(on)), -1);
        ck_assert_int_eq(errno, EPERM);
        count = 0;
        ck_assert_int_eq(getsockopt(bare, SOL_SOCKET, SO_GET_FILTER, NULL, &count), 0);
        ck_assert_uint_eq(count, 0);
        close(bare);
        close(fd);
}
END_TEST

/* ---- Unix paths ---- */

START_TEST(any_hard_link_reaches_the_socket_and_getsockname_stays) {
        const char *path = test_path("s"), *link_path = test_path("link");
        int fd = test_unix_listener(path);
        struct sockaddr_un un = {0};
        socklen_t size = sizeof(un);

        ck_assert_int_eq(link(path, link_path), 0);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(test_unix_connect(path, SOCK_STREAM), ENOENT);
        ck_assert_int_eq(test_unix_connect(link_path, SOCK_STREAM), 0);
        ck_assert_int_eq(link(link_path, path), 0);
        ck_assert_int_eq(test_unix_connect(path, SOCK_STREAM), 0);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &un, &size), 0);
        ck_assert_str_eq(un.sun_path, path);
        close(fd);
}
END_TEST

START_TEST(an_open_socket_cannot_be_linked_by_its_descriptor) {
        int fd = test_unix_listener(test_path("s"));
        char proc[64];

        (void) snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
        ck_assert_int_lt(linkat(AT_FDCWD, proc, AT_FDCWD, test_path("l"), AT_SYMLINK_FOLLOW), 0);
        ck_assert_int_eq(errno, EXDEV);
        close(fd);
}
END_TEST

START_TEST(a_link_can_be_renamed_over_another_socket) {
        const char *path = test_path("s"), *spare = test_path("spare");
        int fd = test_unix_listener(path), foreign;
        struct stat st, ours;

        ck_assert_int_eq(lstat(path, &ours), 0);
        ck_assert_int_eq(link(path, spare), 0);
        ck_assert_int_eq(unlink(path), 0);
        foreign = test_unix_listener(path);
        ck_assert_int_eq(rename(spare, path), 0);
        ck_assert_int_eq(lstat(path, &st), 0);
        ck_assert_uint_eq(st.st_ino, ours.st_ino);
        ck_assert_int_lt(lstat(spare, &st), 0);
        close(foreign);
        close(fd);
}
END_TEST

START_TEST(the_number_of_an_unlinked_socket_file_is_not_used_again_while_it_is_open) {
        const char *path = test_path("s");
        int fd = test_unix_listener(path);
        struct stat before, after;

        ck_assert_int_eq(lstat(path, &before), 0);
        for (int i = 0; i < 100; i++) {
                int other;

                ck_assert_int_eq(unlink(path), 0);
                other = test_unix_listener(path);
                ck_assert_int_eq(lstat(path, &after), 0);
                ck_assert_uint_ne(before.st_ino, after.st_ino);
                close(other);
        }
        close(fd);
}
END_TEST

START_TEST(connecting_with_another_type_tells_a_living_socket_from_a_dead_one) {
        const char *path = test_path("s");
        int fd = test_unix_listener(path);
        struct pollfd p = {.fd = fd, .events = POLLIN};

        ck_assert_int_eq(test_unix_connect(path, SOCK_DGRAM), EPROTOTYPE);
        ck_assert_int_eq(poll(&p, 1, 0), 0); /* and nobody notices */
        close(fd);
        ck_assert_int_eq(test_unix_connect(path, SOCK_DGRAM), ECONNREFUSED);
}
END_TEST

START_TEST(a_rename_over_a_path_is_told_as_moved_to_alone) {
        const char *path = test_path("s"), *other = test_path("other");
        int fd = test_unix_listener(path), foreign = test_unix_listener(other);
        int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        _Alignas(struct inotify_event) char buffer[512];
        const struct inotify_event *event = (const void *) buffer;

        ck_assert_int_ge(inotify_add_watch(watch, test_folder(), IN_DELETE | IN_MOVED_TO), 0);
        ck_assert_int_eq(rename(other, path), 0);
        ck_assert_int_gt(read(watch, buffer, sizeof(buffer)), 0);
        ck_assert_uint_eq(event->mask, IN_MOVED_TO);
        ck_assert_str_eq(event->name, "s");
        ck_assert_int_lt(read(watch, buffer, sizeof(buffer)), 0);
        close(watch);
        close(foreign);
        close(fd);
}
END_TEST

START_TEST(a_deleted_folder_is_not_told_while_a_socket_that_was_bound_in_it_is_open) {
        const char *folder = test_path("d"), *path = test_path("d/s");
        int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), fd;
        _Alignas(struct inotify_event) char buffer[512];
        const struct inotify_event *event = (const void *) buffer;

        ck_assert_int_eq(mkdir(folder, 0755), 0);
        fd = test_unix_listener(path);
        ck_assert_int_ge(inotify_add_watch(watch, folder, IN_DELETE_SELF), 0);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(rmdir(folder), 0);
        ck_assert_int_lt(read(watch, buffer, sizeof(buffer)), 0);
        close(fd);
        ck_assert_int_gt(read(watch, buffer, sizeof(buffer)), 0);
        ck_assert_uint_eq(event->mask, IN_DELETE_SELF);
        close(watch);
}
END_TEST

START_TEST(living_connections_bar_listen_when_reuseaddr_was_cleared) {
        int fd = test_tcp_listener(), client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int conn, off = 0, on = 1;
        struct sockaddr_in in;
        socklen_t size = sizeof(in);

        ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &in, &size), 0);
        ck_assert_int_eq(connect(client, (struct sockaddr *) &in, size), 0);
        conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &off, sizeof(off)), 0);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        ck_assert_int_lt(listen(fd, TEST_BACKLOG), 0);
        ck_assert_int_eq(errno, EADDRINUSE);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
        ck_assert_int_eq(listen(fd, TEST_BACKLOG), 0);
        close(conn);
        close(client);
        close(fd);
}
END_TEST

/* What a client of the listener at `path` sees as its peer. */
static pid_t peer_of(const char *path) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct ucred peer = {0};
        socklen_t size = sizeof(peer);

        (void) snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
        ck_assert_int_eq(connect(fd, (struct sockaddr *) &un, sizeof(un)), 0);
        ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
        close(fd);
        return peer.pid;
}

START_TEST(clients_of_a_unix_listener_see_who_called_listen_last) {
        const char *path = test_path("s");
        int fd = test_unix_listener(path), status = -1;
        pid_t child;

        ck_assert_int_eq(peer_of(path), getpid());
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0)
                _exit(listen(fd, TEST_BACKLOG) == 0 ? 0 : 1);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
        ck_assert_int_eq(peer_of(path), child);
        close(fd);
}
END_TEST

/* ---- who waits, by sock_diag ----- broker/components/queue_moves.c --------------------------- */

struct listed {
        unsigned port;
        uint64_t inode;
        size_t n_waiting, n_accepted;
        uint64_t cookies;
        size_t n_clients;
        uint32_t clients[8];
};

static int list_tcp(void *owner, const struct diag_socket *s) {
        struct listed *found = owner;

        if (s->local_port == found->port && s->state != TCP_LISTEN && s->state != TCP_TIME_WAIT) {
                *(s->inode == 0 ? &found->n_waiting : &found->n_accepted) += 1;
                found->cookies += s->inode == 0 ? s->cookie : 0;
        }
        return 0;
}

static struct listed tcp_list(int fd) {
        struct listed found = {.port = test_port_of(fd)};

        ck_assert_int_eq(socket_diag_tcp(AF_INET, found.port, list_tcp, &found), 0);
        return found;
}

static int connected(int fd) {
        struct sockaddr_storage where;
        socklen_t size = sizeof(where);
        int client;

        ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &where, &size), 0);
        client = socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(connect(client, (struct sockaddr *) &where, size), 0);
        return client;
}

static uint32_t inode_of(int fd) {
        struct stat st;

        ck_assert_int_eq(fstat(fd, &st), 0);
        return (uint32_t) st.st_ino;
}

static unsigned length_of(int fd) {
        struct queue q;

        ck_assert_int_eq(queue_read(fd, &q), 0);
        return q.length;
}

START_TEST(tcp_connections_that_wait_are_listed_without_an_inode_unless_reset) {
        const struct linger at_once = {.l_onoff = 1};
        int fd = test_tcp_listener(), clients[3], accepted;
        struct listed first, then;

        for (int k = 0; k < 3; k++)
                clients[k] = connected(fd);
        first = tcp_list(fd);
        ck_assert_uint_eq(first.n_waiting, 3);
        close(clients[2]); /* in order: it stays */
        then = tcp_list(fd);
        ck_assert_uint_eq(then.n_waiting, 3);
        ck_assert_uint_eq(then.cookies, first.cookies);
        ck_assert_int_eq(setsockopt(clients[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)),
                         0);
        close(clients[1]);
        ck_assert_uint_eq(tcp_list(fd).n_waiting, 2);
        ck_assert_uint_eq(length_of(fd), 3); /* it is to be accepted all the same */
        accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        then = tcp_list(fd);
        ck_assert_uint_eq(then.n_waiting, 1);
        ck_assert_uint_eq(then.n_accepted, 1);
        ck_assert_uint_eq(length_of(fd), 2);
        close(accepted);
        close(clients[0]);
        close(fd);
}
END_TEST

static int list_clients(void *owner, const struct diag_socket *s) {
        struct listed *found = owner;

        if (s->inode == found->inode) {
                found->n_clients = s->n_clients;
                for (size_t k = 0; k < s->n_clients && k < 8; k++)
                        found->clients[k] = s->clients[k];
        }
        return 0;
}

static struct listed unix_list(int fd) {
        struct listed found = {.inode = inode_of(fd)};

        ck_assert_int_eq(socket_diag_unix_clients(list_clients, &found), 0);
        return found;
}

START_TEST(unix_clients_that_wait_are_listed_in_order_and_as_0_when_they_have_closed) {
        int fd = test_unix_listener(test_path("web.sock")), clients[3], accepted;
        struct listed found;

        for (int k = 0; k < 3; k++)
                clients[k] = connected(fd);
        found = unix_list(fd);
        ck_assert_uint_eq(found.n_clients, 3);
        for (int k = 0; k < 3; k++)
                ck_assert_uint_eq(found.clients[k], inode_of(clients[k]));
        close(clients[1]);
        found = unix_list(fd);
        ck_assert_uint_eq(found.n_clients, 3);
        ck_assert_uint_eq(found.clients[1], 0);
        accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        found = unix_list(fd);
        ck_assert_uint_eq(found.n_clients, 2);
        ck_assert_uint_eq(found.clients[0], 0);
        ck_assert_uint_eq(found.clients[1], inode_of(clients[2]));
        close(accepted);
        close(clients[0]);
        close(clients[2]);
        close(fd);
}
END_TEST

SUITE("kernel facts", {
        TEST(tcp_connections_that_wait_are_listed_without_an_inode_unless_reset);
        TEST(unix_clients_that_wait_are_listed_in_order_and_as_0_when_they_have_closed);
        TEST(clients_of_a_unix_listener_see_who_called_listen_last);
        TEST(a_deleted_folder_is_not_told_while_a_socket_that_was_bound_in_it_is_open);
        TEST(living_connections_bar_listen_when_reuseaddr_was_cleared);
        TEST(tcp_shutdown_by_one_holder_ends_it_for_all_and_listen_mends_it);
        TEST(tcp_shutdown_for_writing_does_nothing);
        TEST(tcp_disconnect_is_a_shutdown_and_keeps_an_explicit_address);
        TEST(tcp_shutdown_of_a_port_0_bind_gives_the_port_away);
        TEST(tcp_port_can_be_taken_between_shutdown_and_listen);
        TEST(tcp_new_socket_can_be_bound_beside_one_that_was_shut_down);
        TEST(unix_shutdown_leaves_acceptconn_and_listen_does_not_mend_it);
        TEST(unix_disconnect_is_refused);
        TEST(a_new_connection_does_not_wake_who_asks_for_hang_up_alone);
        TEST(a_closed_descriptor_is_still_reported_while_another_holds_the_socket);
        TEST(a_one_shot_watch_sleeps_after_a_report_and_looks_again_when_set_again);
        TEST(o_nonblock_belongs_to_all_holders);
        TEST(a_socket_cannot_be_opened_for_a_second_description);
        TEST(tcp_info_of_a_listener_tells_its_queue_and_limit);
        TEST(accepted_connections_inherit_options_of_the_listener);
        TEST(a_locked_filter_cannot_be_removed_and_a_lock_alone_looks_alike);
        TEST(any_hard_link_reaches_the_socket_and_getsockname_stays);
        TEST(an_open_socket_cannot_be_linked_by_its_descriptor);
        TEST(a_link_can_be_renamed_over_another_socket);
        TEST(the_number_of_an_unlinked_socket_file_is_not_used_again_while_it_is_open);
        TEST(connecting_with_another_type_tells_a_living_socket_from_a_dead_one);
        TEST(a_rename_over_a_path_is_told_as_moved_to_alone);
})
