#include "control_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "config/config.h"
#include "core/inherited.h"
#include "fdpassd/assemble.h"
#include "sockets_support.h"
#include "support.h"

/* A sanitized build on a busy machine is slow; a loop that hangs is for ever. */
#define PATIENCE_USEC (20 * 1000 * 1000)

/* What compose() gave out; it can still be reached, so no leak check takes it for one. */
static struct composed {
        struct composed *next;
        char *text;
} * composed;

static struct message received;
static char text[MESSAGE_SIZE_MAX + 1];

char *keep(char *text_to_keep) {
        struct composed *c = malloc(sizeof(*c));

        ck_assert_ptr_nonnull(c);
        *c = (struct composed){.next = composed, .text = text_to_keep};
        composed = c;
        return text_to_keep;
}

char *compose(const char *format, ...) {
        va_list arguments;
        char *result;

        va_start(arguments, format);
        ck_assert_int_ge(vasprintf(&result, format, arguments), 0);
        va_end(arguments);
        return keep(result);
}

const char *fixture_port(void) {
        return compose("ListenStream=127.0.0.1:%u\n", test_free_port());
}

void fixture_configure(const char *config) {
        char *all;

        ck_assert_int_gt(
                asprintf(&all, "[Broker]\nControlSocket=%s\n%s", test_path("broker.sock"), config),
                0);
        (void) test_write("fdpass.conf", all);
        free(all);
}

static void on_log_line(void *owner, enum log_level level, const char *line) {
        struct fixture *f = owner;

        free(f->last_line);
        f->last_line = strdup(line);
        f->lines++;
}

static void free_parts(struct fixture *f) {
        loop_free(f->loop);
        log_free(f->log);
        free(f->last_line);
        free(f);
}

int fixture_try(const char *config, struct inherited *inherited, struct fixture **ret) {
        const char *path = test_path("fdpass.conf");
        struct fixture *f = calloc(1, sizeof(*f));
        struct diagnostics diagnostics = {0};
        struct config *loaded;
        int r;

        ck_assert_ptr_nonnull(f);
        /* Others must be able to come to the socket, as in /run/fdpass. */
        ck_assert_int_eq(chmod(test_folder(), 0755), 0);
        fixture_configure(config);
        ck_assert_int_eq(loop_new(&f->loop), 0);
        ck_assert_int_eq(log_new(&f->log, "test", LOG_TARGET_NONE, LEVEL_INFO), 0);
        log_set_sink(f->log, on_log_line, f);
        r = config_load(path, &diagnostics, &loaded);
        if (r < 0)
                diagnostics_print(&diagnostics, stderr);
        ck_assert_int_eq(r, 0);
        diagnostics_clear(&diagnostics);
        if (!inherited)
                ck_assert_int_eq(inherited_new(&inherited), 0);
        r = broker_new(&f->broker, f->loop, f->log,
                       &(struct broker_parts){.config_path = path,
                                              .config = loaded,
                                              .inherited = inherited,
                                              .config_fd = -1});
        if (r < 0) {
                free_parts(f);
                return r;
        }
        f->control = f->broker->control;
        *ret = f;
        return 0;
}

struct fixture *fixture_new(const char *config) {
        struct fixture *f = NULL;

        ck_assert_int_eq(fixture_try(config, NULL, &f), 0);
        return f;
}

void fixture_free(struct fixture *f) {
        message_clear(&received);
        broker_free(f->broker);
        free_parts(f);
}

void turn(struct fixture *f) {
        loop_run_once(f->loop, false);
}

void be_patient(struct patience *p, const char *what) {
        uint64_t now = loop_now_usec();

        if (p->since == 0)
                p->since = now;
        ck_assert_msg(now - p->since < PATIENCE_USEC, "waited in vain for: %s", what);
        (void) poll(NULL, 0, 1); /* not to burn what the others of this machine need */
}

bool is_readable(int fd) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        return poll(&p, 1, 0) == 1;
}

int client_connect(struct fixture *f) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", control_path(f->control));
        ck_assert_int_eq(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        return fd;
}

/* SO_PEERCRED has the effective ids of who called connect(2). */
int client_connect_as(struct fixture *f, uid_t uid, gid_t gid, gid_t group) {
        int fd;

        ck_assert_int_eq(setgroups(group ? 1 : 0, &group), 0);
        ck_assert_int_eq(setegid(gid), 0);
        ck_assert_int_eq(seteuid(uid), 0);
        fd = client_connect(f);
        ck_assert_int_eq(seteuid(0), 0);
        ck_assert_int_eq(setegid(0), 0);
        ck_assert_int_eq(setgroups(0, NULL), 0);
        return fd;
}

void client_send(int fd, const char *request) {
        ck_assert_int_eq(message_send(fd, request, strlen(request), NULL, 0), 0);
}

void client_send_fd(int fd, const char *request, int sent, int expected_errno) {
        ck_assert_int_eq(message_send(fd, request, strlen(request), &sent, 1), -expected_errno);
}

const char *client_receive(struct fixture *f, int fd) {
        int r;

        message_clear(&received);
        TURN_UNTIL(f, is_readable(fd));
        r = message_receive(fd, &received);
        /* The broker closed with packets of ours unread: that is said before what it sent. */
        if (r == -ECONNRESET)
                r = message_receive(fd, &received);
        ck_assert_int_ge(r, 0);
        memcpy(text, received.data, received.size);
        text[received.size] = '\0';
        return text;
}

struct fd_list *client_fds(void) {
        return &received.fds;
}

const char *ask(struct fixture *f, int fd, const char *request, const char *begin) {
        const char *answer;

        client_send(fd, request);
        answer = client_receive(f, fd);
        ck_assert_msg(strncmp(answer, begin, strlen(begin)) == 0, "asked:\n%s\nanswered:\n%s",
                      request, answer);
        return answer;
}

const char *client_document(void) {
        _cleanup_close_ int fd = fd_list_take_fd(&received.fds, received.fds.count - 1);
        const char *size_text = strstr(text, "\nSIZE=");
        size_t size;
        char *document;

        ck_assert_int_ge(fd, 0);
        ck_assert_ptr_nonnull(strstr(text, "\nDOCUMENT=json\n"));
        ck_assert_ptr_nonnull(size_text);
        size = strtoul(size_text + 6, NULL, 10);
        document = keep(calloc(1, size + 1));
        /* read(2), not pread(2): the offset that came with it must be at the start. */
        ck_assert_int_eq((int) read(fd, document, size + 1), (int) size);
        return document;
}

bool needs_root(void) {
        if (geteuid() == 0)
                return false;
        (void) fprintf(stderr, "not checked: this test changes its user, and needs root for it\n");
        return true;
}
