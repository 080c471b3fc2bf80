/* Who has an address: a process by pid and name, a connection, what is left of one. */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "sockets/conflict.h"
#include "sockets_support.h"
#include "support.h"

static char text[CONFLICT_TEXT_SIZE];

static struct address address_of(const char *string) {
        const char *reason = "";
        struct address a;

        ck_assert_msg(address_parse(string, &a, &reason) == 0, "%s: %s", string, reason);
        return a;
}

static struct address host_and_port(const char *host, unsigned port) {
        char string[64];

        (void) snprintf(string, sizeof(string), "%s:%u", host, port);
        return address_of(string);
}

static void expect(const struct address *address, const char *part) {
        (void) conflict_explain(address, text);
        ck_assert_msg(strstr(text, part), "'%s' is not in: %s", part, text);
}

static int listen_on(const struct address *address, int ipv6_only) {
        int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        if (address->any.sa_family == AF_INET6)
                ck_assert_int_eq(
                        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &ipv6_only, sizeof(ipv6_only)),
                        0);
        ck_assert_int_eq(bind(fd, &address->any, address->length), 0);
        ck_assert_int_eq(listen(fd, 4), 0);
        return fd;
}

/* A process called `name` that has what we have open, until it is killed. */
static pid_t make_process(const char *name) {
        int ready[2];
        char byte;
        pid_t pid;

        ck_assert_int_eq(pipe(ready), 0);
        pid = fork();
        if (pid == 0) {
                (void) prctl(PR_SET_NAME, name);
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void) !write(ready[1], "x", 1);
                for (;;)
                        pause();
        }
        ck_assert_int_eq(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        close(ready[1]);
        return pid;
}

static void end_process(pid_t pid) {
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(a_listening_process_is_named) {
        struct address address = host_and_port("127.0.0.1", test_free_port());
        int fd = listen_on(&address, 0);
        pid_t pid = make_process("culprit");
        char who[64];

        close(fd);
        (void) snprintf(who, sizeof(who), "culprit (pid %d, uid %u) listens on 127.0.0.1:%u.",
                        (int) pid, (unsigned) geteuid(), address_port(&address));
        expect(&address, who);
        end_process(pid);
        expect(&address, "Nobody has it any more");
}
END_TEST

START_TEST(several_processes_are_counted) {
        struct address address = host_and_port("127.0.0.1", test_free_port());
        _cleanup_close_ int fd = listen_on(&address, 0);
        pid_t one = make_process("one"), two = make_process("two");

        ck_assert(test_is_accepting(fd));
        expect(&address, "and 2 more processes listen on");
        end_process(one);
        end_process(two);
}
END_TEST

START_TEST(wildcards_are_in_the_way_of_addresses_and_the_reverse) {
        unsigned port = test_free_port();
        struct address any4 = host_and_port("0.0.0.0", port);
        struct address any6 = host_and_port("[::]", port);
        struct address one4 = host_and_port("127.0.0.1", port);
        struct address one6 = host_and_port("[::1]", port);
        int fd;

        fd = listen_on(&any4, 0);
        expect(&one4, "listens on 0.0.0.0:");
        expect(&any6, "listens on 0.0.0.0:");
        expect(&one6, "Nobody has it");
        close(fd);

        fd = listen_on(&one4, 0);
        expect(&any4, "listens on 127.0.0.1:");
        expect(&any6, "listens on 127.0.0.1:");
        close(fd);

        fd = listen_on(&any6, 0);
        expect(&any4, "listens on [::]:");
        expect(&one4, "listens on [::]:");
        expect(&one6, "listens on [::]:");
        close(fd);

        fd = listen_on(&any6, 1);
        expect(&one6, "listens on [::]:");
        expect(&one4, "Nobody has it");
        close(fd);
}
END_TEST

START_TEST(overlap_is_known_without_the_kernel) {
        static const struct {
                const char *a, *b;
                bool overlap;
        } rows[] = {
                {"127.0.0.1:80", "127.0.0.1:80", true}, {"127.0.0.1:80", "127.0.0.1:81", false},
                {"0.0.0.0:80", "127.0.0.1:80", true},   {"0.0.0.0:80", "[::1]:80", false},
                {"[::]:80", "127.0.0.1:80", true},      {"[::]:80", "[::1]:80", true},
                {"[::1]:80", "127.0.0.1:80", false},    {"127.0.0.1:80", "127.0.0.2:80", false},
                {"/run/a.sock", "/run/a.sock", true},   {"/run/a.sock", "/run/b.sock", false},
                {"/run/a.sock", "0.0.0.0:80", false},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct address a = address_of(rows[i].a), b = address_of(rows[i].b);

                ck_assert_msg(conflict_overlaps(&a, &b) == rows[i].overlap, "row %zu", i);
                ck_assert_msg(conflict_overlaps(&b, &a) == rows[i].overlap, "row %zu back", i);
        }
}
END_TEST

/* A connection to `fd`, without SO_REUSEADDR as a client has it; NULL: from a port that the kernel
 * gives. */
static int connect_from(const struct address *from, int fd, int *ret_server) {
        int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct address to;

        ck_assert_int_eq(address_of_socket(fd, &to), 0);
        if (from)
                ck_assert_int_eq(bind(client, &from->any, from->length), 0);
        ck_assert_int_eq(connect(client, &to.any, to.length), 0);
        *ret_server = accept(fd, NULL, NULL);
        ck_assert_int_ge(*ret_server, 0);
        return client;
}

START_TEST(an_outgoing_connection_is_named) {
        int named = prctl(PR_SET_NAME, "culprit");
        _cleanup_close_ int listener = test_tcp_listener(), server = -1;
        _cleanup_close_ int client = connect_from(NULL, listener, &server);
        struct address address;

        ck_assert_int_eq(named, 0);
        ck_assert_int_eq(address_of_socket(client, &address), 0);
        expect(&address, "has a connection with this port at its own end, 127.0.0.1:");
        expect(&address, "ip_local_reserved_ports");
        expect(&address, "culprit (pid ");
}
END_TEST

START_TEST(a_time_wait_remainder_is_named_with_its_time) {
        struct address address = host_and_port("127.0.0.1", test_free_port());
        _cleanup_close_ int listener = test_tcp_listener(), again = -1;
        int server, client = connect_from(&address, listener, &server);
        unsigned seconds = 0;
        const char *time;

        close(client); /* first: the remainder is on this side */
        close(server);
        again = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(bind(again, &address.any, address.length), -1);
        ck_assert_int_eq(errno, EADDRINUSE);
        expect(&address, "No process has it: the kernel keeps what is left");
        expect(&address, "TIME_WAIT");
        time = strstr(text, "for another ");
        ck_assert_ptr_nonnull(time);
        ck_assert_int_eq(sscanf(time, "for another %u s", &seconds), 1);
        ck_assert_uint_gt(seconds, 0);
        ck_assert_uint_le(seconds, 60);
}
END_TEST

START_TEST(a_bound_socket_that_does_not_listen_is_named) {
        _cleanup_close_ int fd = test_tcp_bound(0);
        struct address address;

        ck_assert_int_eq(address_of_socket(fd, &address), 0);
        (void) conflict_explain(&address, text);
        /* told from Linux 6.8 */
        if (!strstr(text, "Nobody"))
                expect(&address, "has bound, without listening yet, 127.0.0.1:");
}
END_TEST

START_TEST(the_process_behind_a_path_is_named) {
        struct address address = address_of(test_path("web.sock"));
        int fd = test_unix_listener(address.un.sun_path);
        pid_t pid = make_process("culprit");
        char who[256];

        close(fd);
        (void) snprintf(who, sizeof(who), "culprit (pid %d, uid %u) listens on %s. Stop it",
                        (int) pid, (unsigned) geteuid(), address.un.sun_path);
        expect(&address, who);
        end_process(pid);
        expect(&address, "No process of this network namespace has");
        ck_assert_int_eq(unlink(address.un.sun_path), 0);
        expect(&address, "not there any more");
        (void) test_write("web.sock", "");
        expect(&address, "is not a socket");
}
END_TEST

/* An ordinary user cannot look into root's processes; the sentence must not say "nobody". */
START_TEST(another_users_process_is_not_nobody) {
        struct address address = host_and_port("127.0.0.1", test_free_port());
        _cleanup_close_ int fd = -1;
        pid_t child;
        int status;

        if (geteuid() != 0)
                return;
        fd = listen_on(&address, 0);
        child = fork();
        if (child == 0) {
                close(fd);
                if (setgid(65534) < 0 || setuid(65534) < 0)
                        _exit(10);
                (void) conflict_explain(&address, text);
                _exit(strstr(text, "Another user's process (its socket is of uid 0) listens on") &&
                                      strstr(text, "Run as root")
                              ? 0
                              : 11);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
}
END_TEST

SUITE("conflict", {
        TEST(a_listening_process_is_named);
        TEST(several_processes_are_counted);
        TEST(wildcards_are_in_the_way_of_addresses_and_the_reverse);
        TEST(overlap_is_known_without_the_kernel);
        TEST(an_outgoing_connection_is_named);
        TEST(a_time_wait_remainder_is_named_with_its_time);
        TEST(a_bound_socket_that_does_not_listen_is_named);
        TEST(the_process_behind_a_path_is_named);
        TEST(another_users_process_is_not_nobody);
})
