/* Who is heard on a notify socket, what becomes of descriptors, and what a flood does. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/notify_socket.h"
#include "message.h"
#include "support.h"
#include "tree_support.h"

struct fixture {
        struct loop *loop;
        struct log *log;
        struct test_tree tree;
        struct notify_socket *socket; /* allocated: a handler may free it */
        unsigned sent, handled;
        struct notify_packet last;
        size_t disposed, stored;
        bool take_first, close_in_handler, drain_in_handler, look_in_handler;
        int looked_at; /* how long the first packet was that waited while one was handled */
        unsigned lines;
        char line[512];
        int commands[2]; /* to the main process: what to say */
};

static struct fixture f;

static void on_line(void *owner, enum log_level level, const char *text) {
        f.lines++;
        (void) snprintf(f.line, sizeof(f.line), "%s", text);
}

static void dispose(void *owner, struct fd_list *fds) {
        for (size_t i = 0; i < fds->count; i++)
                f.disposed += fds->fds[i] >= 0;
        fd_list_clear(fds);
}

static void on_packet(void *owner, struct notify_packet *packet) {
        f.handled++;
        f.last = *packet;
        if (packet->flags & NOTIFY_STORE)
                f.stored += packet->fds->count;
        if (f.take_first)
                close_fd(fd_list_take_fd(packet->fds, 0));
        if (f.look_in_handler) {
                bool control;

                f.looked_at = message_peek(f.socket->fd, &control);
        }
        if (f.drain_in_handler) {
                f.drain_in_handler = false;
                notify_socket_drain(f.socket);
        }
        if (f.close_in_handler && f.socket) {
                notify_socket_close(f.socket, true);
                free(f.socket);
                f.socket = NULL;
        }
}

static struct sockaddr_un address_of(const char *path, socklen_t *ret_size) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};

        memcpy(un.sun_path, path, strlen(path));
        *ret_size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(path));
        if (path[0] == '@')
                un.sun_path[0] = '\0';
        else
                *ret_size += 1;
        return un;
}

/* A socket connected to it, blocking. */
static int speaker(void) {
        socklen_t size;
        struct sockaddr_un un = address_of(f.socket->path, &size);
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || connect(fd, (struct sockaddr *) &un, size) < 0)
                abort();
        return fd;
}

/* With n copies of a descriptor. */
static void say(const char *text, size_t n) {
        int fd = speaker(), fds[FD_LIST_MAX];

        for (size_t i = 0; i < n; i++)
                fds[i] = fd;
        if (message_send(fd, text, strlen(text), fds, n) < 0)
                abort();
        close(fd);
}

static void acknowledge(void) {
        (void) !write(f.commands[1], "x", 1);
}

static void hold(void *unused) {
        for (;;)
                pause();
}

/* The main process says what it is told, line by line. */
static void say_commands(void *unused) {
        char text[512];
        ssize_t n;

        while ((n = read(f.commands[1], text, sizeof(text) - 1)) > 0) {
                text[n] = '\0';
                say(text, 0);
                acknowledge();
        }
}

/* A process that is no leader of the tree says READY=1, and is reaped or stays. */
static void speak_by_child(void *how) {
        pid_t pid = fork();
        char byte;

        if (pid == 0) {
                say("READY=1", 0);
                if (strcmp(how, "ends") == 0)
                        _exit(0);
                acknowledge();
                pause();
        }
        if (strcmp(how, "ends") == 0) {
                (void) waitpid(pid, NULL, 0);
                acknowledge();
        }
        (void) !read(f.commands[1], &byte, 1);
}

static void wait_for_main(void) {
        char byte;

        ck_assert_int_eq(read(f.commands[0], &byte, 1), 1);
}

static void main_says(const char *text) {
        ck_assert_int_gt(write(f.commands[0], text, strlen(text)), 0);
        wait_for_main();
}

static void set_up_at(const char *control_path, enum notify_access access, void (*body)(void *),
                      void *argument, bool in_cgroup) {
        memset(&f, 0, sizeof(f));
        ck_assert_int_eq(loop_new(&f.loop), 0);
        ck_assert_int_eq(log_new(&f.log, "test", LOG_TARGET_NONE, LEVEL_DEBUG), 0);
        log_set_sink(f.log, on_line, NULL);
        f.socket = calloc(1, sizeof(*f.socket));
        ck_assert_int_eq(notify_socket_open(f.socket, f.loop, f.log, "web", control_path, "web-1",
                                            getuid(), getgid()),
                         0);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, f.commands), 0);
        if (!in_cgroup)
                test_tree_start(&f.tree, f.loop, body, argument);
        else if (!test_tree_start_in_cgroup(&f.tree, f.loop, body, argument))
                return;
        notify_socket_start(f.socket, access, &f.tree.tree, NULL, on_packet, dispose, &f);
}

static void set_up(enum notify_access access, void (*body)(void *), void *argument) {
        set_up_at(test_path("broker.sock"), access, body, argument, false);
}

static void tear_down(void) {
        if (f.tree.loop && f.tree.tree.loop)
                test_tree_end(&f.tree);
        if (f.socket)
                notify_socket_close(f.socket, true);
        free(f.socket);
        close(f.commands[0]);
        close(f.commands[1]);
        loop_free(f.loop);
        log_free(f.log);
}

START_TEST(the_main_process_is_heard) {
        set_up(NOTIFY_MAIN, say_commands, NULL);
        main_says("READY=1\nSTATUS=serving");
        RUN_UNTIL(f.loop, f.handled == 1);
        ck_assert_uint_eq(f.last.flags, NOTIFY_READY | NOTIFY_HAS_STATUS);
        ck_assert_str_eq(f.last.status, "serving");
        ck_assert_uint_eq(f.lines, 0);
        tear_down();
}
END_TEST

START_TEST(a_process_outside_of_the_tree_is_not_heard_whoever_it_is) {
        set_up(NOTIFY_ALL, say_commands, NULL);
        say("READY=1", 2);
        main_says("STATUS=after it");
        RUN_UNTIL(f.loop, f.handled == 1);
        ck_assert_uint_eq(f.last.flags, NOTIFY_HAS_STATUS);
        ck_assert_uint_eq(f.disposed, 2);
        ck_assert_ptr_nonnull(strstr(f.line, "no process of this generation"));
        /* Said a few times, not for each. */
        for (int i = 0; i < 50; i++) {
                say("READY=1", 0);
                notify_socket_drain(f.socket);
        }
        ck_assert_uint_eq(f.handled, 1);
        ck_assert_uint_eq(f.lines, 3);
        tear_down();
}
END_TEST

static void expect_child(enum notify_access access, bool heard) {
        set_up(access, speak_by_child, (void *) (uintptr_t) "stays");
        wait_for_main();
        notify_socket_drain(f.socket);
        ck_assert_uint_eq(f.handled, heard);
        tear_down();
}

START_TEST(access_decides_about_other_processes_of_the_tree) {
        expect_child(NOTIFY_NONE, false);
        expect_child(NOTIFY_MAIN, false);
        expect_child(NOTIFY_EXEC, false);
        expect_child(NOTIFY_ALL, true);
}
END_TEST

START_TEST(the_last_words_of_the_main_process_are_heard) {
        set_up(NOTIFY_MAIN, say_commands, NULL);
        main_says("ERRNO=5");
        ck_assert_int_eq(kill(f.tree.tree.pid, SIGKILL), 0);
        io_watch_stop(&f.socket->watch); /* nothing is read before its end is known */
        RUN_UNTIL(f.loop, f.tree.ended);
        notify_socket_drain(f.socket);
        ck_assert_uint_eq(f.handled, 1);
        ck_assert_int_eq(f.last.error, 5);
        tear_down();
}
END_TEST

START_TEST(a_sender_that_was_reaped_is_no_process_of_a_group) {
        set_up(NOTIFY_ALL, speak_by_child, (void *) (uintptr_t) "ends");
        wait_for_main();
        notify_socket_drain(f.socket);
        ck_assert_uint_eq(f.handled, 0);
        ck_assert_uint_eq(f.lines, 1);
        tear_down();
}
END_TEST

static bool kernel_is_at_least(unsigned major, unsigned minor) {
        struct utsname name;
        unsigned a, b;

        ck_assert_int_eq(uname(&name), 0);
        ck_assert_int_eq(sscanf(name.release, "%u.%u", &a, &b), 2);
        return a > major || (a == major && b >= minor);
}

/* SO_PASSPIDFD remembers the cgroup of a reaped sender since Linux 6.16. */
START_TEST(a_sender_that_was_reaped_is_known_by_its_cgroup) {
        set_up_at(test_path("broker.sock"), NOTIFY_ALL, speak_by_child, (void *) (uintptr_t) "ends",
                  true);
        if (f.tree.tree.cgroup_fd >= 0) {
                wait_for_main();
                notify_socket_drain(f.socket);
                ck_assert_uint_eq(f.handled, kernel_is_at_least(6, 16));
                if (f.handled == 0)
                        ck_assert_ptr_nonnull(strstr(f.line, "nobody can tell whose it was"));
        }
        tear_down();
}
END_TEST

static void store_some(void *unused) {
        char byte;

        say("FDSTORE=1\nFDNAME=state", 3);
        say("READY=1", 2);
        acknowledge();
        (void) !read(f.commands[1], &byte, 1);
}

START_TEST(descriptors_that_nobody_took_are_disposed_of) {
        set_up(NOTIFY_MAIN, store_some, NULL);
        f.take_first = true;
        wait_for_main();
        RUN_UNTIL(f.loop, f.handled == 2);
        ck_assert_uint_eq(f.stored, 3);
        ck_assert_uint_eq(f.disposed, 2 + 1); /* the handler took one of each */
        tear_down();
}
END_TEST

static void raise_barrier(void *unused) {
        int ends[2], fd = speaker();
        struct pollfd p;

        say("STATUS=before", 0);
        if (pipe(ends) < 0 || message_send(fd, "BARRIER=1", 9, &ends[1], 1) < 0)
                abort();
        close(ends[1]);
        p = (struct pollfd){.fd = ends[0]};
        if (poll(&p, 1, -1) == 1 && p.revents & POLLHUP)
                acknowledge();
        pause();
}

START_TEST(a_barrier_falls_when_all_before_it_was_handled) {
        struct pollfd answer;

        set_up(NOTIFY_MAIN, raise_barrier, NULL);
        answer = (struct pollfd){.fd = f.commands[0], .events = POLLIN};
        RUN_UNTIL(f.loop, f.disposed == 1);
        ck_assert_uint_eq(f.handled, 2);
        ck_assert_str_eq(f.last.status, "");
        ck_assert_int_eq(poll(&answer, 1, -1), 1);
        tear_down();
}
END_TEST

#define FLOOD 250

/* As much as the queue takes. */
static void flood(int fd) {
        while (send(fd, "WATCHDOG=1", 10, MSG_DONTWAIT) > 0)
                f.sent++;
}

/* We are the main process ourselves: another one might not be scheduled often enough for a flood.
 */
START_TEST(a_flood_waits_and_nothing_of_it_is_lost) {
        unsigned long begin, before;
        int fd, pidfd;

        set_up(NOTIFY_MAIN, hold, NULL);
        pidfd = f.tree.tree.pidfd;
        f.tree.tree.pid = getpid();
        f.tree.tree.pidfd = -1;
        fd = speaker();
        begin = test_msec();
        /* Slower than 100 in a tenth of a second it would be none. */
        while (f.lines == 0 || f.handled < FLOOD) {
                flood(fd);
                before = f.handled;
                loop_run_once(f.loop, true);
                ck_assert_uint_le(f.handled - before, 16); /* a turn */
        }
        RUN_UNTIL(f.loop, f.handled == f.sent);
        ck_assert_uint_ge(test_msec() - begin, 190); /* 100 in each tenth of a second */
        ck_assert_uint_eq(f.lines, 1);
        ck_assert_ptr_nonnull(strstr(f.line, "1,000 notifications a second"));
        close(fd);
        f.tree.tree.pidfd = pidfd;
        f.tree.tree.pid = f.tree.tree.group;
        tear_down();
}
END_TEST

START_TEST(a_handler_may_close_the_socket_and_free_it) {
        set_up(NOTIFY_MAIN, say_commands, NULL);
        main_says("READY=1");
        main_says("STATUS=never read");
        f.close_in_handler = true;
        RUN_UNTIL(f.loop, f.handled == 1);
        ck_assert_ptr_null(f.socket);
        tear_down();
        /* Also within a drain within a handler. */
        set_up(NOTIFY_MAIN, say_commands, NULL);
        main_says("READY=1");
        main_says("STATUS=read within");
        f.drain_in_handler = f.close_in_handler = true;
        RUN_UNTIL(f.loop, f.handled == 2);
        ck_assert_ptr_null(f.socket);
        tear_down();
}
END_TEST

/* Who is killed before it has kept what a packet said leaves it to the one that comes after. */
START_TEST(a_packet_is_there_until_it_is_handled) {
        bool control;

        set_up(NOTIFY_MAIN, say_commands, NULL);
        f.look_in_handler = true;
        main_says("READY=1");
        main_says("STOPPING=1");
        RUN_UNTIL(f.loop, f.handled == 2);
        ck_assert_int_eq(f.looked_at, (int) strlen("STOPPING=1"));
        ck_assert_int_eq(message_peek(f.socket->fd, &control), -EAGAIN);
        /* Nor is it there once more for who drains within a handler. */
        main_says("READY=1");
        main_says("STOPPING=1");
        f.drain_in_handler = true;
        RUN_UNTIL(f.loop, f.handled == 4);
        ck_assert_int_eq(message_peek(f.socket->fd, &control), -EAGAIN);
        /* One that is refused neither, and what is no word at all. */
        int fd = speaker();
        say("READY=1", 3);
        RUN_UNTIL(f.loop, f.disposed == 3);
        ck_assert_int_eq(send(fd, "", 0, 0), 0);
        notify_socket_drain(f.socket);
        ck_assert_int_eq(message_peek(f.socket->fd, &control), -EAGAIN);
        ck_assert_uint_eq(f.handled, 4);
        close_fd(fd);
        tear_down();
}
END_TEST

START_TEST(closed_for_ever_it_leaves_nothing_in_copies_of_it) {
        struct message m;
        int copy, fd;

        set_up(NOTIFY_MAIN, say_commands, NULL);
        copy = fcntl(f.socket->fd, F_DUPFD_CLOEXEC, 3);
        fd = speaker();
        say("FDSTORE=1", 5);
        ck_assert_int_eq(access(f.socket->path, F_OK), 0);
        char *path = strdup(f.socket->path);
        notify_socket_close(f.socket, true);
        ck_assert_int_ne(access(path, F_OK), 0);
        ck_assert_uint_eq(f.disposed, 5);
        ck_assert_int_eq(message_receive(copy, &m), -EAGAIN);
        ck_assert_int_lt(send(fd, "x", 1, MSG_NOSIGNAL), 0);
        free(path);
        close(fd);
        close(copy);
        tear_down();
}
END_TEST

START_TEST(an_adopted_one_has_what_was_said_meanwhile) {
        struct notify_socket old;
        int copy;

        set_up(NOTIFY_MAIN, say_commands, NULL);
        old = *f.socket;
        copy = fcntl(f.socket->fd, F_DUPFD_CLOEXEC, 3);
        notify_socket_close(f.socket, false);
        ck_assert_int_eq(access(old.path, F_OK), 0);
        strcpy(f.socket->path, old.path); /* where the main process finds it */
        ck_assert_int_eq(notify_socket_adopt(f.socket, f.loop, f.log, "web", copy, old.path), 0);
        main_says("READY=1");
        notify_socket_start(f.socket, NOTIFY_MAIN, &f.tree.tree, NULL, on_packet, dispose, &f);
        RUN_UNTIL(f.loop, f.handled == 1);
        tear_down();
}
END_TEST

START_TEST(what_is_no_notify_socket_is_not_adopted) {
        struct notify_socket s;
        int ends[2];

        ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
        ck_assert_int_eq(notify_socket_adopt(&s, NULL, NULL, "web", ends[0], "/x"), -EINVAL);
        ck_assert_int_eq(notify_socket_adopt(&s, NULL, NULL, "web", ends[1], "/x"), -EINVAL);
        ck_assert_int_eq(notify_socket_adopt(&s, NULL, NULL, "web",
                                             socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "/x"),
                         -EINVAL);
        memset(&s, 0, sizeof(s));
        notify_socket_close(&s, true); /* never opened */
}
END_TEST

START_TEST(a_path_is_for_its_user_alone_and_a_long_one_becomes_abstract) {
        struct stat st;
        char deep[200];

        set_up(NOTIFY_MAIN, say_commands, NULL);
        ck_assert_int_eq(lstat(f.socket->path, &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0660);
        ck_assert_uint_eq(st.st_uid, getuid());
        /* What is there from a former life is in nobody's way. */
        notify_socket_close(f.socket, false);
        ck_assert_int_eq(notify_socket_open(f.socket, f.loop, f.log, "web",
                                            test_path("broker.sock"), "web-1", getuid(), getgid()),
                         0);
        tear_down();

        (void) snprintf(deep, sizeof(deep), "%s/%0100d", test_folder(), 7);
        set_up_at(deep, NOTIFY_MAIN, say_commands, NULL, false);
        ck_assert_int_eq(f.socket->path[0], '@');
        main_says("READY=1");
        RUN_UNTIL(f.loop, f.handled == 1);
        tear_down();
}
END_TEST

static bool is_ours(void *owner, const char *name) {
        return strcmp(name, strrchr(f.socket->path, '/') + 1) == 0;
}

static void leave_a_socket(const char *path) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        (void) snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
        ck_assert_int_eq(bind(fd, (struct sockaddr *) &un, sizeof(un)), 0);
        close(fd);
}

START_TEST(what_a_broker_left_is_removed_and_nothing_of_another) {
        static const struct {
                const char *name;
                bool stays;
        } left[] = {{"broker.sock.notify-web.3.1", false},
                    {"broker.sock.2", true},
                    {"a.sock.notify-web.3.1", true},
                    {"notify-web.3.1", true}};

        set_up(NOTIFY_MAIN, say_commands, NULL);
        for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++)
                leave_a_socket(test_path(left[i].name));
        test_write("broker.sock.notify-file", "");
        notify_socket_remove_stale(test_path("broker.sock"), is_ours, NULL);
        ck_assert_int_eq(access(f.socket->path, F_OK), 0);
        ck_assert_int_eq(access(test_path("broker.sock.notify-file"), F_OK), 0);
        for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++)
                ck_assert_int_eq(access(test_path(left[i].name), F_OK), left[i].stays ? 0 : -1);
        notify_socket_remove_stale("missing/broker.sock", is_ours, NULL);
        tear_down();
}
END_TEST

START_TEST(what_cannot_be_parsed_is_dropped_with_a_line) {
        static const char nul[] = "READY=1\0";
        int fd;

        set_up(NOTIFY_MAIN, say_commands, NULL);
        /* As the main process itself: this is about the packet. */
        f.tree.tree.pid = getpid();
        int pidfd = f.tree.tree.pidfd;
        f.tree.tree.pidfd = -1;
        fd = speaker();
        ck_assert_int_eq(send(fd, nul, 8, 0), 8);
        notify_socket_drain(f.socket);
        ck_assert_ptr_nonnull(strstr(f.line, "NUL"));
        ck_assert_int_eq(send(fd, "", 0, 0), 0);
        notify_socket_drain(f.socket);
        ck_assert_ptr_nonnull(strstr(f.line, "empty"));
        char *large = calloc(1, MESSAGE_SIZE_MAX + 1);
        ck_assert_int_eq(send(fd, large, MESSAGE_SIZE_MAX + 1, 0), MESSAGE_SIZE_MAX + 1);
        notify_socket_drain(f.socket);
        ck_assert_ptr_nonnull(strstr(f.line, "too long"));
        free(large);
        ck_assert_uint_eq(f.handled, 0);
        ck_assert_int_eq(send(fd, "MAINPID=x\nREADY=1", 17, 0), 17);
        f.socket->refusals.count = 0;
        notify_socket_drain(f.socket);
        ck_assert_uint_eq(f.handled, 1);
        ck_assert_ptr_nonnull(strstr(f.line, "MAINPID=x is no valid value"));
        close(fd);
        f.tree.tree.pidfd = pidfd;
        f.tree.tree.pid = f.tree.tree.group;
        tear_down();
}
END_TEST

SUITE("notify_socket", {
        TEST(the_main_process_is_heard);
        TEST(a_process_outside_of_the_tree_is_not_heard_whoever_it_is);
        TEST(access_decides_about_other_processes_of_the_tree);
        TEST(the_last_words_of_the_main_process_are_heard);
        TEST(a_sender_that_was_reaped_is_no_process_of_a_group);
        TEST(a_sender_that_was_reaped_is_known_by_its_cgroup);
        TEST(descriptors_that_nobody_took_are_disposed_of);
        TEST(a_barrier_falls_when_all_before_it_was_handled);
        TEST(a_flood_waits_and_nothing_of_it_is_lost);
        TEST(a_handler_may_close_the_socket_and_free_it);
        TEST(a_packet_is_there_until_it_is_handled);
        TEST(closed_for_ever_it_leaves_nothing_in_copies_of_it);
        TEST(an_adopted_one_has_what_was_said_meanwhile);
        TEST(what_is_no_notify_socket_is_not_adopted);
        TEST(a_path_is_for_its_user_alone_and_a_long_one_becomes_abstract);
        TEST(what_a_broker_left_is_removed_and_nothing_of_another);
        TEST(what_cannot_be_parsed_is_dropped_with_a_line);
})
