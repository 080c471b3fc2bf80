#include "sockets_support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sockets/hand_back.h"
#include "support.h"

#define FIRST_PORT 10000
#define PORTS_APART 8191 /* a prime: all of them come before one comes again */

static struct sockaddr_in loopback(unsigned port) {
        return (struct sockaddr_in){.sin_family = AF_INET,
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                    .sin_port = htons((uint16_t) port)};
}

unsigned test_port_of(int fd) {
        struct sockaddr_in in;
        socklen_t size = sizeof(in);

        ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &in, &size), 0);
        return ntohs(in.sin_port);
}

int test_tcp_bound(unsigned port) {
        struct sockaddr_in in = loopback(port);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
        ck_assert_int_eq(bind(fd, (struct sockaddr *) &in, sizeof(in)), 0);
        return fd;
}

/* Where the ports begin that the kernel gives to whoever asks for any; else the end of all. */
static unsigned end_of_our_ports(void) {
        FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
        unsigned first = 0;

        if (f && fscanf(f, "%u", &first) != 1)
                first = 0;
        if (f)
                (void) fclose(f);
        return first >= FIRST_PORT + 1000 ? first : 65536;
}

/* Nobody has anything of it: no listener, no connection, and not what is left of one. */
static bool is_free(unsigned port) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool free;

        ck_assert_int_ge(fd, 0);
        free = bind(fd, (struct sockaddr *) &in, sizeof(in)) == 0;
        close(fd);
        return free;
}

/*
 * None that the kernel gives to others, for it may do so before we have bound it, and after we have
 * let it go. Tests that run at the same time have other pids, and not far from ours: the next one
 * of a test is further away than those are.
 */
unsigned test_free_port(void) {
        static unsigned n_given;
        unsigned n = end_of_our_ports() - FIRST_PORT, port;

        do
                port = FIRST_PORT + ((unsigned) getpid() + n_given++ * PORTS_APART) % n;
        while (!is_free(port));
        return port;
}

int test_tcp_listener(void) {
        int fd = test_tcp_bound(test_free_port());

        ck_assert_int_eq(listen(fd, TEST_BACKLOG), 0);
        return fd;
}

int test_tcp_connect(unsigned port) {
        struct sockaddr_in in = loopback(port);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int err = connect(fd, (struct sockaddr *) &in, sizeof(in)) < 0 ? errno : 0;

        close(fd);
        return err;
}

static struct sockaddr_un unix_address(const char *path) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};

        strncpy(un.sun_path, path, sizeof(un.sun_path) - 1);
        return un;
}

int test_unix_listener(const char *path) {
        struct sockaddr_un un = unix_address(path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(bind(fd, (struct sockaddr *) &un, sizeof(un)), 0);
        ck_assert_int_eq(listen(fd, TEST_BACKLOG), 0);
        return fd;
}

int test_unix_connect(const char *path, int type) {
        struct sockaddr_un un = unix_address(path);
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
        int err = connect(fd, (struct sockaddr *) &un, sizeof(un)) < 0 ? errno : 0;

        close(fd);
        return err;
}

bool test_is_accepting(int fd) {
        int value = -1;
        socklen_t size = sizeof(value);

        ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size), 0);
        return value == 1;
}

int test_disconnect(int fd) {
        struct sockaddr none = {.sa_family = AF_UNSPEC};

        return connect(fd, &none, sizeof(none));
}

int test_holder_of(int fd) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

        ck_assert_int_ge(copy, 0);
        return copy;
}

int test_marked_listener(void) {
        int fd = test_tcp_listener();

        hand_back_mark(fd);
        return fd;
}

pid_t test_hold_elsewhere(int fd) {
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                for (;;)
                        pause();
        }
        close(fd);
        return pid;
}
