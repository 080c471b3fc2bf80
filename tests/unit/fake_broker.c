/* See fake_broker.h. The fake itself uses nothing of the library but message_send(), tested
 * elsewhere. */
#include "fake_broker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fdpass.h"
#include "message.h"
#include "support.h"

static char request[MESSAGE_SIZE_MAX + 1], serial[65];

void fake_assert(int condition, const char *text, int line) {
        if (condition)
                return;
        dprintf(STDERR_FILENO, "line %d: %s (last request: %s)\n", line, text, request);
        _exit(EXIT_FAILURE);
}

int fake_listen(const char *path, int backlog) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        FAKE_ASSERT(fd >= 0 && strlen(path) < sizeof(a.sun_path));
        strcpy(a.sun_path, path);
        (void) unlink(path);
        FAKE_ASSERT(bind(fd, (struct sockaddr *) &a, sizeof(a)) == 0);
        FAKE_ASSERT(chmod(path, 0666) == 0);
        FAKE_ASSERT(listen(fd, backlog) == 0);
        return fd;
}

static pid_t fork_child(void) {
        pid_t parent = getpid(), pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                /* A test that is killed takes its children along. */
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent)
                        _exit(EXIT_FAILURE);
                (void) signal(SIGPIPE, SIG_IGN);
        }
        return pid;
}

/* Closes what the script left open, so that who tracks descriptors sees none of it. */
static void end_child(void) {
        for (int fd = STDERR_FILENO + 1; fd < 1024; fd++)
                (void) close(fd);
        _exit(EXIT_SUCCESS);
}

struct fake fake_start_as(fake_script *script, uid_t uid) {
        const char *path = test_path("broker.sock");
        struct fake fake = {.path = path};
        char byte;
        int started[2];

        ck_assert_int_eq(pipe(started), 0);
        fake.pid = fork_child();
        if (fake.pid == 0) {
                if (uid != geteuid()) {
                        (void) chmod(test_folder(), 0777);
                        FAKE_ASSERT(setresuid(uid, uid, uid) == 0);
                        (void) prctl(PR_SET_PDEATHSIG, SIGKILL); /* reset by the change of uid */
                }
                int fd = fake_listen(path, 16);
                close(started[0]);
                close(started[1]);
                script(fd);
                end_child();
        }
        close(started[1]);
        ck_assert_int_eq((int) read(started[0], &byte, 1), 0); /* until the other end is closed */
        close(started[0]);
        return fake;
}

struct fake fake_start(fake_script *script) {
        return fake_start_as(script, geteuid());
}

static void join(pid_t pid) {
        int status;

        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wait status %d", status);
}

void fake_join(struct fake *fake) {
        join(fake->pid);
}

void fake_kill(struct fake *fake) {
        ck_assert_int_eq(kill(fake->pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(fake->pid, NULL, 0), fake->pid);
}

int fake_accept(int listening) {
        int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);

        FAKE_ASSERT(fd >= 0);
        return fd;
}

static void remember_serial(void) {
        const char *start = strstr(request, "SERIAL=");

        serial[0] = '\0';
        if (start)
                (void) snprintf(serial, sizeof(serial), "%.*s", (int) strcspn(start + 7, "\n"),
                                start + 7);
}

const char *fake_request(int connection) {
        ssize_t n = recv(connection, request, sizeof(request) - 1, 0);

        request[n > 0 ? n : 0] = '\0';
        if (n > 0)
                remember_serial();
        return request;
}

void fake_expect(int connection, const char *text) {
        char expected[512];

        (void) fake_request(connection);
        (void) snprintf(expected, sizeof(expected), "%s\nSERIAL=%s\n", text, serial);
        FAKE_ASSERT(strcmp(request, expected) == 0);
}

const char *fake_serial(void) {
        return serial;
}

void fake_send(int connection, const char *text, size_t n) {
        const char *insertion = strstr(text, "%s");
        char packet[MESSAGE_SIZE_MAX];
        /* Never the connection itself: who holds a copy of our end does not see us hang up. */
        int fds[FD_LIST_MAX], fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), size;

        if (insertion)
                size = snprintf(packet, sizeof(packet), "%.*s%s%s", (int) (insertion - text), text,
                                serial, insertion + 2);
        else
                size = snprintf(packet, sizeof(packet), "%s", text);
        for (size_t i = 0; i < n; i++)
                fds[i] = fd;
        FAKE_ASSERT(message_send(connection, packet, (size_t) size, fds, n) == 0);
        close(fd);
}

void fake_wait_closed(int connection) {
        FAKE_ASSERT(*fake_request(connection) == '\0');
}

void fake_pass_time(int milliseconds) {
        (void) poll(NULL, 0, milliseconds);
}

void run_in_child(void (*body)(void)) {
        pid_t pid = fork_child();

        if (pid == 0) {
                body();
                end_child();
        }
        join(pid);
}

long now_msec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (long) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct fdpass *fake_open(const struct fake *fake) {
        struct fdpass *c = NULL;

        ck_assert_int_eq(fdpass_open(&c, fake->path), 0);
        ck_assert_ptr_nonnull(c);
        return c;
}

static bool is_readable(int fd) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        return poll(&p, 1, 0) == 1;
}

void fake_assert_dead(struct fdpass *c) {
        int fd = -7;

        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), -ENOTCONN);
        ck_assert_int_eq(fdpass_ready(c), -ENOTCONN);
        ck_assert_int_eq(fdpass_watch(c, NULL), -ENOTCONN);
        ck_assert_int_eq(fdpass_process(c), -ENOTCONN);
        ck_assert_int_eq(fd, -7);
        ck_assert(is_readable(fdpass_get_fd(c)));
        ck_assert_int_eq(fdpass_get_timeout(c), -1);
}
