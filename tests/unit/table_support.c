#include "table_support.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/process.h"
#include "sockets_support.h"
#include "support.h"

static void on_event(void *owner, const struct listener *listener, enum listener_event event) {
        struct world *w = owner;
        size_t used = strlen(w->events);

        (void) snprintf(w->events + used, sizeof(w->events) - used, "%c%s ",
                        event == LISTENER_REMOVED ? '-' : '+', listener->name);
}

struct world *world_new(void) {
        struct world *w = calloc(1, sizeof(*w));

        ck_assert_ptr_nonnull(w);
        ck_assert_int_eq(loop_new(&w->loop), 0);
        ck_assert_int_eq(inherited_new(&w->inherited), 0);
        ck_assert_int_eq(listener_table_new(&w->table, w->loop, NULL, 20000), 0);
        w->watcher = (struct listener_watcher){.event = on_event, .owner = w};
        listener_table_watch(w->table, &w->watcher);
        return w;
}

void world_free(struct world *w) {
        listener_table_free(w->table);
        inherited_free(w->inherited);
        loop_free(w->loop);
        diagnostics_clear(&w->diagnostics);
        free(w);
}

struct config *load(const char *text) {
        struct diagnostics diagnostics = {0};
        struct config *config;
        int r = config_load(test_write("fdpass.conf", text), &diagnostics, &config);

        if (r < 0)
                diagnostics_print(&diagnostics, stderr);
        diagnostics_clear(&diagnostics);
        ck_assert_int_eq(r, 0);
        return config;
}

int apply(struct world *w, const char *format, ...) {
        struct config *config;
        va_list arguments;
        char *text;
        int r;

        va_start(arguments, format);
        ck_assert_int_ge(vasprintf(&text, format, arguments), 0);
        va_end(arguments);
        diagnostics_clear(&w->diagnostics);
        w->events[0] = '\0';
        config = load(text);
        r = listener_table_apply(w->table, config, w->inherited, w->allow_close, &w->diagnostics,
                                 &w->result);
        config_free(config);
        free(text);
        if (r == 0 && w->diagnostics.errors > 0)
                diagnostics_print(&w->diagnostics, stderr);
        ck_assert_int_eq(r == 0, w->diagnostics.errors == 0);
        return r;
}

void expect_diagnostic(const struct world *w, enum severity severity, const char *part) {
        for (size_t i = 0; i < w->diagnostics.count; i++)
                if (w->diagnostics.items[i].severity == severity &&
                    strstr(w->diagnostics.items[i].text, part))
                        return;
        diagnostics_print(&w->diagnostics, stderr);
        ck_abort_msg("nothing says: %s", part);
}

void expect_counts(const struct world *w, size_t opened, size_t adopted, size_t kept,
                   size_t changed, size_t closed) {
        ck_assert_uint_eq(w->result.opened, opened);
        ck_assert_uint_eq(w->result.adopted, adopted);
        ck_assert_uint_eq(w->result.kept, kept);
        ck_assert_uint_eq(w->result.changed, changed);
        ck_assert_uint_eq(w->result.closed, closed);
}

struct listener *find(const struct world *w, const char *name) {
        struct listener *listener = listener_table_find(w->table, name);

        ck_assert_msg(listener != NULL, "no listener %s", name);
        for (size_t i = 0; i < listener->n_sockets; i++) {
                ck_assert_ptr_eq(listener->sockets[i]->listener, listener);
                ck_assert_int_eq(listener->sockets[i]->fd, listener->fds[i]);
                ck_assert(test_is_accepting(listener->fds[i]));
        }
        return listener;
}

struct identity identity_of(const struct world *w, const char *name, size_t index) {
        const struct listener_socket *socket = find(w, name)->sockets[index];
        struct stat st;

        ck_assert_int_eq(fstat(socket->fd, &st), 0);
        ck_assert_uint_eq(st.st_ino, socket->inode);
        return (struct identity){socket->fd, st.st_ino};
}

void expect_identity(const struct world *w, const char *name, size_t index,
                     struct identity expected) {
        struct identity now = identity_of(w, name, index);

        ck_assert_int_eq(now.fd, expected.fd);
        ck_assert_uint_eq(now.inode, expected.inode);
}

struct holder *hold(const struct world *w, const char *name) {
        int pidfd = process_open(getpid());
        struct holder *holder;
        struct lease *lease;

        if (pidfd == -ENOSYS) /* valgrind knows no pidfds: something that is not readable either */
                pidfd = eventfd(0, EFD_CLOEXEC);
        ck_assert_int_eq(
                holder_get(listener_table_holders(w->table), pidfd, getpid(), 7, 7, &holder), 0);
        ck_assert_int_eq(lease_begin(holder, find(w, name), LEASE_ACQUIRE, 0, &lease), 0);
        return holder;
}
