#include "hazards_support.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/inherited.h"
#include "sockets_support.h"
#include "support.h"

static void on_log(void *owner, enum log_level level, const char *text) {
        struct hazard *f = owner;
        size_t used = strlen(f->lines);

        f->warnings += level == LEVEL_WARNING;
        f->errors += level == LEVEL_ERROR;
        if (level <= LEVEL_NOTICE)
                (void) snprintf(f->lines + used, sizeof(f->lines) - used, "%s\n", text);
}

static void on_event(void *owner, const struct listener *listener, enum listener_event event) {
        ((struct hazard *) owner)->replaced += event == LISTENER_REPLACED;
}

void hazard_start_given(struct hazard *f, const char *where, int given) {
        struct inherited *inherited;
        struct diagnostics diagnostics = {0};
        struct apply_result result;
        const char *reason = "";

        memset(f, 0, sizeof(*f));
        ck_assert_int_eq(loop_new(&f->loop), 0);
        ck_assert_int_eq(log_new(&f->log, "test", LOG_TARGET_NONE, LEVEL_DEBUG), 0);
        log_set_sink(f->log, on_log, f);
        ck_assert_int_eq(listener_table_new(&f->table, f->loop, f->log, 16), 0);
        f->watcher = (struct listener_watcher){.event = on_event, .owner = f};
        listener_table_watch(f->table, &f->watcher);
        ck_assert_msg(address_parse(where, &f->address, &reason) == 0, "%s: %s", where, reason);
        f->socket = (struct socket_config){
                .name = (char *) "web",
                .file = (char *) "test.conf",
                .line = 1,
                .addresses = f->addresses,
                .n_addresses = 1,
                .backlog = HAZARD_BACKLOG,
                .socket_mode = 0666,
                .directory_mode = 0755,
                .fd_name = (char *) "web",
        };
        f->addresses[0] = &f->address;
        f->sockets[0] = &f->socket;
        f->config = (struct config){.sockets = f->sockets, .n_sockets = 1};
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

void hazard_start(struct hazard *f, const char *where) {
        hazard_start_given(f, where, -1);
}

void hazard_start_adopted(struct hazard *f, int given) {
        char where[32];

        (void) snprintf(where, sizeof(where), "127.0.0.1:%u", test_port_of(given));
        hazard_start_given(f, where, given);
}

void hazard_start_tcp(struct hazard *f) {
        char where[32];

        (void) snprintf(where, sizeof(where), "127.0.0.1:%u", test_free_port());
        hazard_start(f, where);
}

void hazard_start_unix(struct hazard *f) {
        hazard_start(f, test_path("web.sock"));
}

void hazard_stop(struct hazard *f) {
        listener_table_free(f->table);
        log_free(f->log);
        loop_free(f->loop);
}

int hazard_fd(const struct hazard *f) {
        return f->listener->fds[0];
}

int hazard_hold(struct hazard *f) {
        struct lease *lease;
        struct holder *holder;

        ck_assert_int_eq(listener_check(f->listener), 0);
        /* In place of a pidfd something else that is not readable: valgrind knows no pidfds. */
        ck_assert_int_eq(holder_get(listener_table_holders(f->table), eventfd(0, EFD_CLOEXEC),
                                    getpid(), getuid(), getgid(), &holder),
                         0);
        ck_assert_int_eq(lease_begin(holder, f->listener, LEASE_ACQUIRE, 0, &lease), 0);
        f->holder = holder;
        return test_holder_of(hazard_fd(f));
}

void hazard_let_go(struct hazard *f, int fd) {
        close(fd);
        lease_end(lease_find(f->holder, f->listener));
        holder_put(f->holder);
        f->holder = NULL;
}

void hazard_turns(struct hazard *f) {
        for (unsigned i = 0; i < 4; i++)
                loop_run_once(f->loop, false);
}

int hazard_reach(const struct hazard *f) {
        return address_is_unix(&f->address) ? test_unix_connect(f->address.un.sun_path, SOCK_STREAM)
                                            : test_tcp_connect(address_port(&f->address));
}

uint64_t hazard_repairs(const struct hazard *f) {
        return f->listener->sockets[0]->repairs;
}

unsigned test_limit_of(int fd) {
        struct tcp_info info = {0};
        socklen_t size = sizeof(info);

        ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
        return info.tcpi_sacked;
}

int test_option_of(int fd, int level, int name) {
        int value = -1;
        socklen_t size = sizeof(value);

        ck_assert_int_eq(getsockopt(fd, level, name, &value, &size), 0);
        return value;
}

void test_set_option(int fd, int level, int name, int value) {
        ck_assert_int_eq(setsockopt(fd, level, name, &value, sizeof(value)), 0);
}
