/*
 * What holders do to listeners, done to real ones: a table with applied listeners, a holder that is
 * this very process with a duplicate of the socket, and what clients then see.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "config/config.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/process.h"
#include "sockets/listener_table.h"
#include "sockets_support.h"
#include "support.h"

#define BACKLOG 64

struct fixture {
        struct loop *loop;
        struct log *log;
        struct listener_table *table;
        struct address address;
        struct socket_config socket;
        struct config config;
        struct listener *listener;
        struct holder *holder;
        unsigned replaced, warnings, errors;
        char lines[8192]; /* all warnings and errors */
};

static void on_log(void *owner, enum log_level level, const char *text) {
        struct fixture *f = owner;
        size_t used = strlen(f->lines);

        f->warnings += level == LEVEL_WARNING;
        f->errors += level == LEVEL_ERROR;
        if (level <= LEVEL_NOTICE)
                (void) snprintf(f->lines + used, sizeof(f->lines) - used, "%s\n", text);
}

static void on_event(void *owner, const struct listener *listener, enum listener_event event) {
        ((struct fixture *) owner)->replaced += event == LISTENER_REPLACED;
}

/* A table with one listener "web" at `where`, adopted from `given` when that is a descriptor. */
static void start_given(struct fixture *f, const char *where, int given) {
        struct inherited *inherited;
        struct diagnostics diagnostics = {0};
        struct apply_result result;
        const char *reason = "";

        memset(f, 0, sizeof(*f));
        ck_assert_int_eq(loop_new(&f->loop), 0);
        ck_assert_int_eq(log_new(&f->log, "test", LOG_TARGET_NONE, LEVEL_DEBUG), 0);
        log_set_sink(f->log, on_log, f);
        ck_assert_int_eq(listener_table_new(&f->table, f->loop, f->log, 16), 0);
        listener_table_set_callbacks(
                f->table, &(struct listener_table_callbacks){.event = on_event, .owner = f});
        ck_assert_msg(address_parse(where, &f->address, &reason) == 0, "%s: %s", where, reason);
        f->socket = (struct socket_config){
                .name = (char *) "web",
                .file = (char *) "test.conf",
                .line = 1,
                .addresses = &f->address,
                .n_addresses = 1,
                .backlog = BACKLOG,
                .socket_mode = 0666,
                .directory_mode = 0755,
                .fd_name = (char *) "web",
        };
        f->config = (struct config){.sockets = &f->socket, .n_sockets = 1};
        ck_assert_int_eq(inherited_new(&inherited), 0);
        if (given >= 0)
                ck_assert_int_eq(inherited_put_fd(inherited, "web", given), 0);
        if (listener_table_apply(f->table, &f->config, inherited, false, &diagnostics, &result) <
            0) {
                diagnostics_print(&diagnostics, stderr);
                ck_abort_msg("%s could not be applied", where);
        }
        diagnostics_clear(&diagnostics);
        inherited_free(inherited);
        f->listener = listener_table_find(f->table, "web");
        ck_assert_ptr_nonnull(f->listener);
        ck_assert(f->listener->sockets[0]->adopted == (given >= 0));
}

static void start(struct fixture *f, const char *where) {
        start_given(f, where, -1);
}

/* As systemd does it: bound by another, with options of its own. */
static void start_adopted(struct fixture *f, int given) {
        char where[32];

        (void) snprintf(where, sizeof(where), "127.0.0.1:%u", test_port_of(given));
        start_given(f, where, given);
}

static void start_tcp(struct fixture *f) {
        char where[32];

        (void) snprintf(where, sizeof(where), "127.0.0.1:%u", test_free_port());
        start(f, where);
}

static void start_unix(struct fixture *f) {
        start(f, test_path("web.sock"));
}

static void stop(struct fixture *f) {
        listener_table_free(f->table);
        log_free(f->log);
        loop_free(f->loop);
}

static int fd_of(const struct fixture *f) {
        return f->listener->fds[0];
}

/* This process becomes a holder, with a lease and a descriptor. */
static int hold(struct fixture *f) {
        struct lease *lease;
        struct holder *holder;

        ck_assert_int_eq(listener_check(f->listener), 0);
        /* In place of a pidfd something else that is not readable: valgrind knows no pidfds. */
        ck_assert_int_eq(holder_get(listener_table_holders(f->table), eventfd(0, EFD_CLOEXEC),
                                    getpid(), getuid(), getgid(), &holder),
                         0);
        ck_assert_int_eq(lease_begin(holder, f->listener, LEASE_ACQUIRE, 0, &lease), 0);
        f->holder = holder;
        return test_holder_of(fd_of(f));
}

/* It gives back the lease and its descriptor. */
static void let_go(struct fixture *f, int fd) {
        close(fd);
        lease_end(lease_find(f->holder, f->listener));
        holder_put(f->holder);
        f->holder = NULL;
}

static void turns(struct fixture *f) {
        for (unsigned i = 0; i < 4; i++)
                loop_run_once(f->loop, false);
}

static int reach(const struct fixture *f) {
        return address_is_unix(&f->address) ? test_unix_connect(f->address.un.sun_path, SOCK_STREAM)
                                            : test_tcp_connect(address_port(&f->address));
}

static uint64_t repairs(const struct fixture *f) {
        return f->listener->sockets[0]->repairs;
}

static unsigned limit_of(int fd) {
        struct tcp_info info = {0};
        socklen_t size = sizeof(info);

        ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
        return info.tcpi_sacked;
}

static int option_of(int fd, int level, int name) {
        int value = -1;
        socklen_t size = sizeof(value);

        ck_assert_int_eq(getsockopt(fd, level, name, &value, &size), 0);
        return value;
}

static void set_option(int fd, int level, int name, int value) {
        ck_assert_int_eq(setsockopt(fd, level, name, &value, sizeof(value)), 0);
}

/* ---- shutdown ---- */

START_TEST(a_tcp_listener_that_a_holder_shut_down_listens_again_at_once) {
        struct fixture f;
        char name[PROCESS_NAME_SIZE], suspect[64];
        int fd, socket;

        start_tcp(&f);
        socket = fd_of(&f);
        fd = hold(&f);
        ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
        ck_assert_int_eq(reach(&f), ECONNREFUSED);
        turns(&f);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_uint_eq(repairs(&f), 1);
        ck_assert_int_eq(fd_of(&f), socket); /* the same socket: holders go on with it */
        ck_assert_uint_eq(f.replaced, 0);
        ck_assert_uint_eq(limit_of(socket), BACKLOG);

        ck_assert_uint_eq(f.warnings, 1);
        process_name(getpid(), name);
        (void) snprintf(suspect, sizeof(suspect), "%s (pid %d)", name, (int) getpid());
        ck_assert_msg(strstr(f.lines, suspect) != NULL, "'%s' not in: %s", suspect, f.lines);

        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0); /* and the guard is awake again */
        turns(&f);
        ck_assert_int_eq(reach(&f), 0);
        let_go(&f, fd);
        stop(&f);
}
END_TEST

START_TEST(a_disconnected_tcp_listener_listens_again_at_its_address) {
        struct fixture f;
        int fd;

        start_tcp(&f);
        fd = hold(&f);
        ck_assert_int_eq(test_disconnect(fd), 0);
        turns(&f);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 0);
        let_go(&f, fd);
        stop(&f);
}
END_TEST

START_TEST(a_wildcard_listener_keeps_its_address_too) {
        struct fixture f;
        char where[32];
        int fd;

        (void) snprintf(where, sizeof(where), "0.0.0.0:%u", test_free_port());
        start(&f, where);
        fd = hold(&f);
        ck_assert_int_eq(test_disconnect(fd), 0);
        turns(&f);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        turns(&f);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 0);
        ck_assert_uint_eq(repairs(&f), 2);
        let_go(&f, fd);
        stop(&f);
}
END_TEST

START_TEST(a_shut_down_listener_is_mended_before_it_is_lent_even_when_no_event_came_yet) {
        struct fixture f;
        int fd;

        start_tcp(&f);
        fd = hold(&f);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        ck_assert_int_eq(listener_check(f.listener), 0);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_uint_eq(repairs(&f), 1);
        turns(&f); /* the event that comes late finds nothing to do */
        ck_assert_uint_eq(repairs(&f), 1);
        let_go(&f, fd);
        stop(&f);
}
END_TEST

START_TEST(living_connections_are_not_in_the_way_when_a_holder_cleared_reuseaddr) {
        struct sockaddr_in in;
        socklen_t size = sizeof(in);
        struct fixture f;
        int fd, client, accepted;

        start_tcp(&f);
        fd = hold(&f);
        client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &in, &size), 0);
        ck_assert_int_eq(connect(client, (struct sockaddr *) &in, size), 0);
        accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        ck_assert_int_ge(accepted, 0);
        set_option(fd, SOL_SOCKET, SO_REUSEADDR, 0);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        turns(&f);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_uint_eq(f.errors, 0);
        close(accepted);
        close(client);
        let_go(&f, fd);
        stop(&f);
}
END_TEST

START_TEST(a_lost_port_is_said_tried_again_and_taken_back) {
        struct fixture f;
        uint64_t begin;
        int fd, thief;

        start_tcp(&f);
        fd = hold(&f);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        thief = test_tcp_bound(address_port(&f.address));
        ck_assert_int_eq(listen(thief, 1), 0);
        turns(&f);
        ck_assert_uint_eq(f.errors, 1);
        ck_assert_ptr_nonnull(strstr(f.lines, "tried again"));
        for (unsigned i = 0; i < 20; i++) /* many ask for it: that puts the repair off no further */
                ck_assert_int_eq(listener_check(f.listener), -EIO);
        close(thief);
        begin = loop_now_usec();
        for (unsigned i = 0; i < 100 && !test_is_accepting(fd_of(&f)); i++)
                loop_run_once(f.loop, true); /* nothing but the retry can wake it */
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_uint_lt(loop_now_usec() - begin, 5000000);
        ck_assert_int_eq(listener_check(f.listener), 0);
        let_go(&f, fd);
        stop(&f);
}
END_TEST

START_TEST(a_holder_that_shuts_down_in_a_loop_is_slowed_down_and_mended_in_the_end) {
        struct fixture f;
        unsigned before;
        int fd;

        start_tcp(&f);
        fd = hold(&f);
        for (unsigned i = 0; i < 100; i++) {
                (void) shutdown(fd, SHUT_RD);
                turns(&f);
        }
        before = (unsigned) repairs(&f);
        ck_assert_uint_le(before, 40); /* 20 a second, if this took more than one */
        ck_assert_uint_le(f.warnings, 10);
        for (unsigned i = 0; i < 100 && !test_is_accepting(fd_of(&f)); i++)
                loop_run_once(f.loop, true);
        ck_assert_int_eq(reach(&f), 0);
        let_go(&f, fd);
        stop(&f);
}
END_TEST

START_TEST(a_unix_listener_that_was_shut_down_is_bound_anew_at_its_path) {
        struct fixture f;
        struct stat st;
        int fd;

        start_unix(&f);
        ck_assert_int_eq(chmod(f.address.un.sun_path, 0600), 0);
        fd = hold(&f);
        ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
        ck_assert_int_eq(reach(&f), ECONNREFUSED);
        turns(&f);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 1);
        ck_assert_uint_eq(repairs(&f), 1);
        ck_assert_int_eq(fd_of(&f), f.listener->sockets[0]->fd);
        ck_assert_int_eq(fstat(fd_of(&f), &st), 0);
        ck_assert_uint_eq(f.listener->sockets[0]->inode, st.st_ino);
        ck_assert_int_eq(lstat(f.address.un.sun_path, &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0666); /* as configured */

        /* The guards are those of the new socket. */
        ck_assert_int_eq(unlink(f.address.un.sun_path), 0);
        turns(&f);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_int_eq(shutdown(fd_of(&f), SHUT_RD), 0);
        turns(&f);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 2);
        let_go(&f, fd);
        stop(&f);
}
END_TEST

START_TEST(a_unix_listener_is_mended_before_it_is_lent_even_when_no_event_came_yet) {
        struct fixture f;
        int fd;

        start_unix(&f);
        fd = hold(&f);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        ck_assert_int_eq(listener_check(f.listener), 0);
        ck_assert_int_eq(reach(&f), 0);
        turns(&f);
        ck_assert_uint_eq(f.replaced, 1);
        let_go(&f, fd);
        stop(&f);
}
END_TEST

START_TEST(a_unix_listener_that_is_shut_down_in_a_loop_is_not_bound_anew_in_a_loop) {
        struct fixture f;

        start_unix(&f);
        for (unsigned i = 0; i < 100; i++) {
                (void) shutdown(fd_of(&f), SHUT_RD);
                (void) listener_check(f.listener);
                turns(&f);
        }
        ck_assert_uint_le(f.replaced, 40); /* 20 a second, if this took more than one */
        for (unsigned i = 0; i < 100 && reach(&f) != 0; i++)
                loop_run_once(f.loop, true);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_int_eq(listener_check(f.listener), 0);
        stop(&f);
}
END_TEST

/* ---- paths ---- */

START_TEST(a_path_that_a_program_unlinks_at_exit_is_there_again) {
        struct fixture f;
        int fd, socket;

        start_unix(&f);
        socket = fd_of(&f);
        fd = hold(&f);
        ck_assert_int_eq(unlink(f.address.un.sun_path), 0);
        turns(&f);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_int_eq(fd_of(&f), socket);
        ck_assert_uint_eq(f.replaced, 0);
        ck_assert_uint_eq(repairs(&f), 1);
        let_go(&f, fd);
        stop(&f);
}
END_TEST

START_TEST(a_deleted_folder_is_made_again_and_the_path_bound_anew) {
        struct fixture f;
        char links[64];

        start(&f, test_path("d/web.sock"));
        (void) snprintf(links, sizeof(links), "d/.fdpass-%u", (unsigned) geteuid());
        ck_assert_int_eq(rename(test_path(links), test_path("links")), 0);
        ck_assert_int_eq(unlink(f.address.un.sun_path), 0);
        ck_assert_int_eq(rmdir(test_path("d")), 0);
        turns(&f);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 1);

        /* The folder is watched again. */
        ck_assert_int_eq(unlink(f.address.un.sun_path), 0);
        turns(&f);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 1);
        stop(&f);
}
END_TEST

START_TEST(a_folder_moved_away_further_up_is_seen_at_the_next_hand_off) {
        struct fixture f;

        start(&f, test_path("d/e/web.sock"));
        ck_assert_int_eq(rename(test_path("d"), test_path("gone")), 0);
        turns(&f);
        ck_assert_int_eq(reach(&f), ENOENT); /* nobody tells us */
        ck_assert_int_eq(listener_check(f.listener), 0);
        ck_assert_int_eq(reach(&f), 0);
        stop(&f);
}
END_TEST

START_TEST(a_program_that_binds_the_path_itself_does_not_keep_it) {
        struct fixture f;
        int fd, foreign;

        start_unix(&f);
        fd = hold(&f);
        ck_assert_int_eq(unlink(f.address.un.sun_path), 0);
        foreign = test_unix_listener(f.address.un.sun_path);
        turns(&f);
        close(foreign);
        ck_assert_int_eq(reach(&f), 0); /* with the other one gone it is ours that answers */
        ck_assert_ptr_nonnull(strstr(f.lines, "another program"));
        let_go(&f, fd);
        stop(&f);
}
END_TEST

/* ---- what holders share ---- */

START_TEST(a_changed_backlog_is_mended_at_the_next_hand_off) {
        struct fixture f;
        int fd;

        start_tcp(&f);
        fd = hold(&f);
        ck_assert_uint_eq(limit_of(fd), BACKLOG);
        ck_assert_int_eq(listen(fd, 1), 0);
        ck_assert_uint_eq(limit_of(fd), 1);
        ck_assert_int_eq(listener_check(f.listener), 0); /* also under a living holder */
        ck_assert_uint_eq(limit_of(fd), BACKLOG);
        ck_assert_ptr_nonnull(strstr(f.lines, "backlog"));
        let_go(&f, fd);
        stop(&f);
}
END_TEST

/* How many clients a Unix listener takes before it is full: backlog + 1, unix(7) is silent. */
static unsigned room_of(const char *path) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        int clients[4 * BACKLOG];
        unsigned n = 0;

        (void) snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
        for (; n < 4 * BACKLOG; n++) {
                clients[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                if (connect(clients[n], (struct sockaddr *) &un, sizeof(un)) < 0) {
                        close(clients[n]);
                        break;
                }
        }
        for (unsigned i = 0; i < n; i++)
                close(clients[i]);
        return n;
}

START_TEST(a_changed_backlog_of_a_unix_listener_is_mended_when_nobody_holds_it) {
        struct fixture f;
        int fd;

        start_unix(&f);
        fd = hold(&f);
        ck_assert_int_eq(listen(fd, 1), 0);
        let_go(&f, fd);
        ck_assert_uint_eq(room_of(f.address.un.sun_path), BACKLOG + 1);
        stop(&f);
}
END_TEST

START_TEST(o_nonblock_is_left_alone_under_a_living_holder_and_set_back_after_the_last) {
        struct fixture f;
        int fd;

        start_tcp(&f);
        fd = hold(&f);
        ck_assert_int_eq(fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK | O_ASYNC), 0);
        ck_assert_int_eq(fcntl(fd, F_SETOWN, getpid()), 0);
        ck_assert_int_eq(listener_check(f.listener), 0); /* another one acquires */
        ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
        let_go(&f, fd);
        ck_assert_int_eq(fcntl(fd_of(&f), F_GETFL) & (O_NONBLOCK | O_ASYNC), 0);
        ck_assert_int_eq(fcntl(fd_of(&f), F_GETOWN), 0);

        /* By one that is no holder, such as a stray: found when the next one comes. */
        ck_assert_int_eq(fcntl(fd_of(&f), F_SETFL, O_RDWR | O_NONBLOCK), 0);
        ck_assert_int_eq(listener_check(f.listener), 0);
        ck_assert_int_eq(fcntl(fd_of(&f), F_GETFL) & O_NONBLOCK, 0);
        stop(&f);
}
END_TEST

START_TEST(options_that_a_holder_changed_are_set_back_after_the_last_lease) {
        const struct linger linger = {1, 5};
        const struct timeval timeout = {3, 0};
        struct linger linger_now;
        struct timeval timeout_now;
        socklen_t size;
        struct fixture f;
        int fd, buffer, lock;

        start_tcp(&f);
        fd = hold(&f);
        buffer = option_of(fd, SOL_SOCKET, SO_RCVBUF);
        lock = option_of(fd, SOL_SOCKET, 72 /* SO_BUF_LOCK */);
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
        set_option(fd, SOL_SOCKET, SO_RCVBUF, 8192);
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 10);
        set_option(fd, IPPROTO_TCP, TCP_FASTOPEN, 5);
        set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 17);
        ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)), 0);
        ck_assert_int_eq(listener_check(f.listener), 0);
        ck_assert_int_ne(option_of(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0); /* still held */
        let_go(&f, fd);

        fd = fd_of(&f);
        ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
        ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_REUSEPORT), 0);
        ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_RCVBUF), buffer);
        ck_assert_int_eq(option_of(fd, SOL_SOCKET, 72), lock);
        ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 0);
        ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
        ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_FASTOPEN), 0);
        ck_assert_int_ne(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 17);
        size = sizeof(linger_now);
        ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger_now, &size), 0);
        ck_assert_int_eq(linger_now.l_onoff, 0);
        size = sizeof(timeout_now);
        ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout_now, &size), 0);
        ck_assert_int_eq(timeout_now.tv_sec, 0);
        ck_assert_ptr_nonnull(strstr(f.lines, "TCP_DEFER_ACCEPT"));
        ck_assert_int_eq(reach(&f), 0);
        stop(&f);
}
END_TEST

START_TEST(an_adopted_socket_goes_back_to_what_it_was_when_it_was_adopted) {
        struct fixture f;
        int fd, given = test_tcp_listener();

        set_option(given, IPPROTO_TCP, TCP_NODELAY, 1); /* NoDelay=, KeepAlive= of systemd */
        set_option(given, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_option(given, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1);
        start_adopted(&f, given);
        fd = hold(&f);
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 0);
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
        set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
        let_go(&f, fd);
        ck_assert_int_ne(option_of(fd_of(&f), IPPROTO_TCP, TCP_NODELAY), 0);
        ck_assert_int_ne(option_of(fd_of(&f), SOL_SOCKET, SO_KEEPALIVE), 0);
        ck_assert_int_eq(option_of(fd_of(&f), IPPROTO_TCP, TCP_DEFER_ACCEPT), 1);
        ck_assert_uint_eq(f.replaced, 0);
        stop(&f);
}
END_TEST

START_TEST(an_adopted_socket_that_loses_its_port_by_a_shutdown_is_bound_anew) {
        struct fixture f;
        int fd, given = test_tcp_bound(0); /* not an explicit port: the kernel takes it back */

        ck_assert_int_eq(listen(given, TEST_BACKLOG), 0);
        start_adopted(&f, given);
        fd = hold(&f);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        turns(&f);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_uint_eq(test_port_of(fd_of(&f)), address_port(&f.address));
        ck_assert_uint_eq(f.replaced, 1);
        let_go(&f, fd);
        stop(&f);
}
END_TEST

START_TEST(an_adopted_unix_socket_whose_path_is_gone_is_bound_anew) {
        const char *path = test_path("web.sock");
        int given = test_unix_listener(path);
        struct fixture f;

        ck_assert_int_eq(unlink(path), 0);
        start_given(&f, path, given);
        for (unsigned i = 0; i < 10 && f.replaced == 0; i++)
                loop_run_once(f.loop, true);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 1);
        stop(&f);
}
END_TEST

/* False where only root may: some kernels do not let others attach a filter. */
static bool attach_filter(int fd, bool lock) {
        struct sock_filter drop[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
        struct sock_fprog program = {1, drop};
        int r = setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));

        if (r < 0 && errno == EPERM && geteuid() != 0)
                return false;
        ck_assert_int_eq(r, 0);
        if (lock)
                set_option(fd, SOL_SOCKET, SO_LOCK_FILTER, 1);
        return true;
}

START_TEST(a_socket_filter_is_removed_after_the_last_lease) {
        struct fixture f;
        int fd;

        start_tcp(&f);
        fd = hold(&f);
        (void) attach_filter(fd, false);
        let_go(&f, fd);
        ck_assert_int_eq(reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 0);
        stop(&f);
}
END_TEST

START_TEST(a_locked_socket_filter_is_answered_with_a_new_socket) {
        struct fixture f;
        bool filtered;
        int fd, stray;

        start_tcp(&f);
        fd = hold(&f);
        filtered = attach_filter(fd, true);
        stray = test_holder_of(fd); /* keeps the old socket */
        set_option(fd, SOL_SOCKET, SO_REUSEADDR, 0);
        let_go(&f, fd);
        ck_assert_uint_eq(f.replaced, filtered);
        ck_assert_int_eq(reach(&f), 0);
        close(stray);
        ck_assert_int_eq(reach(&f), 0);
        stop(&f);
}
END_TEST

START_TEST(a_locked_filter_on_a_unix_listener_is_answered_with_a_new_socket) {
        struct fixture f;
        bool filtered;
        int fd;

        start_unix(&f);
        fd = hold(&f);
        filtered = attach_filter(fd, true);
        let_go(&f, fd);
        ck_assert_uint_eq(f.replaced, filtered);
        ck_assert_int_eq(reach(&f), 0);
        stop(&f);
}
END_TEST

START_TEST(connections_that_wait_outlive_the_end_of_the_last_holder) {
        struct fixture f;
        int fd, accepted;

        start_tcp(&f);
        fd = hold(&f);
        ck_assert_int_eq(reach(&f), 0);
        let_go(&f, fd);
        ck_assert_int_eq(reach(&f), 0);
        fd = hold(&f);
        for (unsigned i = 0; i < 2; i++) {
                struct pollfd p = {.fd = fd, .events = POLLIN};

                ck_assert_int_eq(poll(&p, 1, 0), 1);
                accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
                ck_assert_int_ge(accepted, 0);
                close(accepted);
        }
        let_go(&f, fd);
        stop(&f);
}
END_TEST

static void on_timeout(void *owner) {
        *(bool *) owner = true;
}

START_TEST(a_listener_with_a_repair_under_way_can_be_freed) {
        struct timer timer = {0};
        bool timed_out = false;
        struct fixture f;
        int fd, thief;

        start_tcp(&f);
        fd = hold(&f);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        thief = test_tcp_bound(address_port(&f.address));
        ck_assert_int_eq(listen(thief, 1), 0);
        turns(&f);
        close(fd);
        holder_put(f.holder);
        f.table = listener_table_free(f.table);
        timer_start(&timer, f.loop, 200000, on_timeout, &timed_out);
        while (!timed_out) /* longer than the repair would have waited */
                loop_run_once(f.loop, true);
        stop(&f);
        close(thief);
}
END_TEST

SUITE("hazards", {
        TEST(a_tcp_listener_that_a_holder_shut_down_listens_again_at_once);
        TEST(a_disconnected_tcp_listener_listens_again_at_its_address);
        TEST(a_wildcard_listener_keeps_its_address_too);
        TEST(a_shut_down_listener_is_mended_before_it_is_lent_even_when_no_event_came_yet);
        TEST(living_connections_are_not_in_the_way_when_a_holder_cleared_reuseaddr);
        TEST(a_lost_port_is_said_tried_again_and_taken_back);
        TEST(a_holder_that_shuts_down_in_a_loop_is_slowed_down_and_mended_in_the_end);
        TEST(a_unix_listener_that_was_shut_down_is_bound_anew_at_its_path);
        TEST(a_unix_listener_is_mended_before_it_is_lent_even_when_no_event_came_yet);
        TEST(a_unix_listener_that_is_shut_down_in_a_loop_is_not_bound_anew_in_a_loop);
        TEST(a_path_that_a_program_unlinks_at_exit_is_there_again);
        TEST(a_deleted_folder_is_made_again_and_the_path_bound_anew);
        TEST(a_folder_moved_away_further_up_is_seen_at_the_next_hand_off);
        TEST(a_program_that_binds_the_path_itself_does_not_keep_it);
        TEST(a_changed_backlog_is_mended_at_the_next_hand_off);
        TEST(a_changed_backlog_of_a_unix_listener_is_mended_when_nobody_holds_it);
        TEST(o_nonblock_is_left_alone_under_a_living_holder_and_set_back_after_the_last);
        TEST(options_that_a_holder_changed_are_set_back_after_the_last_lease);
        TEST(an_adopted_socket_goes_back_to_what_it_was_when_it_was_adopted);
        TEST(an_adopted_socket_that_loses_its_port_by_a_shutdown_is_bound_anew);
        TEST(an_adopted_unix_socket_whose_path_is_gone_is_bound_anew);
        TEST(a_socket_filter_is_removed_after_the_last_lease);
        TEST(a_locked_socket_filter_is_answered_with_a_new_socket);
        TEST(a_locked_filter_on_a_unix_listener_is_answered_with_a_new_socket);
        TEST(connections_that_wait_outlive_the_end_of_the_last_holder);
        TEST(a_listener_with_a_repair_under_way_can_be_freed);
})
