/* From one configuration to the next: what is kept stays what it is, and all happens or nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "sockets/queue.h"
#include "sockets_support.h"
#include "support.h"
#include "table_support.h"

static mode_t mode_of(const char *path) {
        struct stat st;

        ck_assert_msg(lstat(path, &st) == 0, "%s: %s", path, strerror(errno));
        return st.st_mode & 07777;
}

/* ---- open and keep ---- */

START_TEST(listeners_are_opened_and_found_in_name_order) {
        struct world *w = world_new();
        unsigned port = test_free_port();
        struct listener *l;

        ck_assert_int_eq(apply(w,
                               "[Socket web]\nListenStream=127.0.0.1:%u\n"
                               "[Socket api]\nListenStream=%s\n",
                               port, test_path("api.sock")),
                         0);
        expect_counts(w, 2, 0, 0, 0, 0);
        ck_assert_uint_eq(listener_table_count(w->table), 2);
        l = listener_table_first(w->table);
        ck_assert_str_eq(l->name, "api");
        ck_assert_str_eq(listener_table_next(l)->name, "web");
        ck_assert_ptr_null(listener_table_next(listener_table_next(l)));
        ck_assert_ptr_null(listener_table_find(w->table, "we"));
        ck_assert_int_eq(test_tcp_connect(port), 0);
        ck_assert_int_eq(test_unix_connect(test_path("api.sock"), SOCK_STREAM), 0);
        world_free(w);
        ck_assert_int_eq(test_tcp_connect(port), ECONNREFUSED);
        ck_assert_int_eq(access(test_path("api.sock"), F_OK), 0); /* RemoveOnStop=no */
}
END_TEST

START_TEST(what_is_in_both_is_not_touched) {
        struct world *w = world_new();
        unsigned port = test_free_port(), other = test_free_port();
        struct identity web, api;
        struct listener *object;
        struct holder *holder;

        ck_assert_int_eq(apply(w,
                               "[Socket web]\nListenStream=127.0.0.1:%u\n"
                               "[Socket api]\nListenStream=%s\n",
                               port, test_path("api.sock")),
                         0);
        web = identity_of(w, "web", 0);
        api = identity_of(w, "api", 0);
        object = find(w, "web");
        holder = hold(w, "web");
        ck_assert_int_eq(test_tcp_connect(port), 0); /* waits in the queue */
        ck_assert_int_eq(apply(w,
                               "# a comment moves lines\n[Socket api]\nListenStream=%s\n"
                               "[Socket web]\nListenStream=127.0.0.1:%u\n"
                               "[Socket zoo]\nListenStream=127.0.0.1:%u\n",
                               test_path("api.sock"), port, other),
                         0);
        expect_counts(w, 1, 0, 2, 0, 0);
        ck_assert_str_eq(w->events, "");
        expect_identity(w, "web", 0, web);
        expect_identity(w, "api", 0, api);
        ck_assert_ptr_eq(find(w, "web"), object);
        ck_assert_uint_eq(object->n_leases, 1);
        ck_assert_uint_eq(object->config->line, 4);
        {
                int server = accept(web.fd, NULL, NULL);

                ck_assert_int_ge(server, 0);
                close(server);
        }
        holder_put(holder);
        world_free(w);
}
END_TEST

START_TEST(a_renamed_listener_keeps_socket_and_leases) {
        struct world *w = world_new();
        unsigned port = test_free_port();
        struct identity socket;
        struct holder *holder;

        ck_assert_int_eq(apply(w, "[Socket old]\nListenStream=127.0.0.1:%u\n", port), 0);
        socket = identity_of(w, "old", 0);
        holder = hold(w, "old");
        ck_assert_int_eq(apply(w, "[Socket new]\nListenStream=127.0.0.1:%u\n", port), 0);
        expect_counts(w, 0, 0, 0, 1, 0);
        ck_assert_str_eq(w->events, "-old +new ");
        expect_identity(w, "new", 0, socket);
        ck_assert_ptr_null(listener_table_find(w->table, "old"));
        ck_assert_ptr_nonnull(lease_find(holder, find(w, "new")));
        holder_put(holder);
        world_free(w);
}
END_TEST

START_TEST(listeners_that_swap_names_keep_their_sockets_and_leases) {
        struct world *w = world_new();
        unsigned one = test_free_port(), two = test_free_port();
        struct identity a, b;
        struct holder *holder;
        static const char *const format =
                "[Socket a]\nListenStream=127.0.0.1:%u\n[Socket b]\nListenStream=127.0.0.1:%u\n";
        char text[256];

        (void) snprintf(text, sizeof(text), format, one, two);
        ck_assert_int_eq(apply(w, "%s", text), 0);
        a = identity_of(w, "a", 0);
        b = identity_of(w, "b", 0);
        holder = hold(w, "a");
        (void) snprintf(text, sizeof(text), format, two, one);
        ck_assert_int_eq(apply(w, "%s", text), 0);
        expect_counts(w, 0, 0, 0, 2, 0);
        ck_assert_str_eq(w->events, "+a +b ");
        expect_identity(w, "a", 0, b);
        expect_identity(w, "b", 0, a);
        ck_assert_ptr_nonnull(lease_find(holder, find(w, "b")));
        ck_assert_ptr_null(lease_find(holder, find(w, "a")));
        holder_put(holder);
        world_free(w);
}
END_TEST

START_TEST(an_address_moves_between_listeners_without_a_bind) {
        struct world *w = world_new();
        unsigned one = test_free_port(), two = test_free_port();
        struct identity x, y;

        ck_assert_int_eq(apply(w,
                               "[Socket a]\nListenStream=127.0.0.1:%u\nListenStream=127.0.0.1:%u\n",
                               one, two),
                         0);
        x = identity_of(w, "a", 0);
        y = identity_of(w, "a", 1);
        ck_assert_int_eq(apply(w,
                               "[Socket a]\nListenStream=127.0.0.1:%u\n"
                               "[Socket b]\nListenStream=127.0.0.1:%u\n",
                               one, two),
                         0);
        expect_identity(w, "a", 0, x);
        expect_identity(w, "b", 0, y);
        ck_assert_uint_eq(find(w, "a")->n_sockets, 1);
        /* and back again: two listeners become one, whose leases are those of both */
        {
                struct holder *holder = hold(w, "b");

                ck_assert_int_eq(
                        apply(w,
                              "[Socket a]\nListenStream=127.0.0.1:%u\nListenStream=127.0.0.1:%u\n",
                              two, one),
                        0);
                ck_assert_ptr_nonnull(lease_find(holder, find(w, "a")));
                holder_put(holder);
        }
        expect_counts(w, 0, 0, 0, 1, 1);
        ck_assert_str_eq(w->events, "+a -b ");
        expect_identity(w, "a", 0, y);
        expect_identity(w, "a", 1, x);
        world_free(w);
}
END_TEST

START_TEST(an_added_address_is_all_that_is_bound) {
        struct world *w = world_new();
        unsigned one = test_free_port(), two = test_free_port();
        struct identity x;

        ck_assert_int_eq(apply(w, "[Socket a]\nListenStream=127.0.0.1:%u\n", one), 0);
        x = identity_of(w, "a", 0);
        ck_assert_int_eq(apply(w,
                               "[Socket a]\nListenStream=127.0.0.1:%u\nListenStream=127.0.0.1:%u\n",
                               two, one),
                         0);
        expect_counts(w, 0, 0, 0, 1, 0);
        ck_assert_str_eq(w->events, "+a ");
        expect_identity(w, "a", 1, x);
        ck_assert_int_eq(test_tcp_connect(two), 0);
        world_free(w);
}
END_TEST

/* ---- all or nothing ---- */

/* The n-th of five cannot be bound: none is, and nothing else is different from before. */
START_TEST(a_bind_that_fails_takes_back_all_others) {
        for (int n = 0; n < 5; n++) {
                struct world *w = world_new();
                unsigned ports[5], kept = test_free_port();
                struct identity before;
                char text[1024];
                unsigned fds;
                int other, used = 0;

                ck_assert_int_eq(apply(w, "[Socket kept]\nListenStream=127.0.0.1:%u\n", kept), 0);
                before = identity_of(w, "kept", 0);
                for (int i = 0; i < 5; i++)
                        ports[i] = test_free_port();
                other = test_tcp_bound(ports[n]);
                ck_assert_int_eq(listen(other, 1), 0);
                for (int i = 0; i < 5; i++)
                        used += snprintf(text + used, sizeof(text) - (size_t) used,
                                         "[Socket s%d]\nListenStream=127.0.0.1:%u\n"
                                         "ListenStream=%s/made%d/s%d.sock\n",
                                         i, ports[i], test_folder(), i, i);
                fds = test_open_fds();
                ck_assert_int_eq(apply(w,
                                       "%s[Socket renamed]\nListenStream=127.0.0.1:%u\nBacklog=7\n",
                                       text, kept),
                                 -EINVAL);
                ck_assert_uint_eq(test_open_fds(), fds);
                ck_assert_uint_eq(w->result.n_conflicts, 1);
                ck_assert_uint_eq(address_port(&w->result.conflicts[0]), ports[n]);
                expect_diagnostic(w, SEVERITY_ERROR, "the address is in use");
                ck_assert_uint_eq(w->diagnostics.errors, 1);
                ck_assert_ptr_nonnull(w->diagnostics.items[0].file);
                ck_assert_uint_eq(w->diagnostics.items[0].line, (unsigned) (1 + 3 * n));
                ck_assert_uint_eq(listener_table_count(w->table), 1);
                expect_identity(w, "kept", 0, before);
                ck_assert_str_eq(w->events, "");
                for (int i = 0; i < 5; i++) {
                        char folder[128];

                        if (i != n)
                                ck_assert_int_eq(test_tcp_connect(ports[i]), ECONNREFUSED);
                        (void) snprintf(folder, sizeof(folder), "%s/made%d", test_folder(), i);
                        ck_assert_int_eq(access(folder, F_OK), -1);
                }
                close(other);
                world_free(w);
        }
}
END_TEST

START_TEST(all_addresses_that_cannot_be_had_are_named) {
        struct world *w = world_new();
        _cleanup_close_ int one = test_tcp_listener(), two = test_tcp_listener();

        ck_assert_int_eq(apply(w,
                               "[Socket a]\nListenStream=127.0.0.1:%u\n"
                               "[Socket b]\nListenStream=127.0.0.1:%u\n"
                               "[Socket c]\nListenStream=192.0.2.1:80\n"
                               "[Socket d]\nListenStream=%s\n",
                               test_port_of(one), test_port_of(two),
                               test_write("precious", "content")),
                         -EINVAL);
        ck_assert_uint_eq(w->diagnostics.errors, 4);
        ck_assert_uint_eq(w->result.n_conflicts, 2);
        expect_diagnostic(w, SEVERITY_ERROR, "listener c: cannot bind 192.0.2.1:80: no interface");
        expect_diagnostic(w, SEVERITY_ERROR, "is not a socket");
        ck_assert_uint_eq(listener_table_count(w->table), 0);
        world_free(w);
}
END_TEST

START_TEST(closing_must_be_allowed) {
        struct world *w = world_new();
        unsigned one = test_free_port(), two = test_free_port();
        const char *path = test_path("gone.sock");

        ck_assert_int_eq(apply(w,
                               "[Socket a]\nListenStream=127.0.0.1:%u\nListenStream=127.0.0.1:%u\n"
                               "[Socket gone]\nListenStream=%s\n",
                               one, two, path),
                         0);
        ck_assert_int_eq(apply(w, "[Socket a]\nListenStream=127.0.0.1:%u\n", one), -EINVAL);
        ck_assert_uint_eq(w->diagnostics.errors, 2);
        expect_diagnostic(w, SEVERITY_ERROR, "listener a: its address 127.0.0.1:");
        expect_diagnostic(w, SEVERITY_ERROR, "listener gone (");
        expect_diagnostic(w, SEVERITY_ERROR, "--allow-close");
        ck_assert_int_eq(test_tcp_connect(two), 0);
        ck_assert_int_eq(test_unix_connect(path, SOCK_STREAM), 0);

        w->allow_close = true;
        ck_assert_int_eq(apply(w, "[Socket a]\nListenStream=127.0.0.1:%u\n", one), 0);
        expect_counts(w, 0, 0, 0, 1, 1);
        ck_assert_str_eq(w->events, "+a -gone ");
        ck_assert_int_eq(test_tcp_connect(two), ECONNREFUSED);
        ck_assert_int_eq(test_tcp_connect(one), 0);
        ck_assert_int_eq(access(path, F_OK), -1); /* and its guard did not put it back */
        loop_run_once(w->loop, false);
        ck_assert_int_eq(access(path, F_OK), -1);
        world_free(w);
}
END_TEST

START_TEST(the_last_lease_of_a_removed_listener_ends) {
        struct world *w = world_new();
        struct holder *holder;

        w->allow_close = true;
        ck_assert_int_eq(apply(w, "[Socket a]\nListenStream=127.0.0.1:%u\n", test_free_port()), 0);
        holder = hold(w, "a");
        ck_assert_int_eq(apply(w, "[Socket b]\nListenStream=127.0.0.1:%u\n", test_free_port()), 0);
        ck_assert_uint_eq(holder->n_leases, 0);
        holder_put(holder);
        world_free(w);
}
END_TEST

START_TEST(the_broker_itself_in_the_way_is_named) {
        struct world *w = world_new();
        unsigned port = test_free_port();

        w->allow_close = true;
        ck_assert_int_eq(apply(w, "[Socket all]\nListenStream=0.0.0.0:%u\n", port), 0);
        ck_assert_int_eq(apply(w, "[Socket one]\nListenStream=127.0.0.1:%u\n", port), -EINVAL);
        expect_diagnostic(w, SEVERITY_ERROR, "the broker itself has 0.0.0.0:");
        expect_diagnostic(w, SEVERITY_ERROR, "for listener all");
        ck_assert_uint_eq(w->result.n_conflicts, 0);
        ck_assert_int_eq(test_tcp_connect(port), 0);
        world_free(w);
}
END_TEST

START_TEST(more_sockets_than_the_limit_are_refused) {
        struct world *w = world_new();
        struct listener_table *small;
        struct config *config;
        char text[256];

        ck_assert_int_eq(listener_table_new(&small, w->loop, NULL, 2), 0);
        (void) snprintf(text, sizeof(text),
                        "[Socket a]\nListenStream=%s/1\nListenStream=%s/2\nListenStream=%s/3\n",
                        test_folder(), test_folder(), test_folder());
        config = load(text);
        ck_assert_int_eq(
                listener_table_apply(small, config, NULL, false, &w->diagnostics, &w->result),
                -EINVAL);
        expect_diagnostic(w, SEVERITY_ERROR, "the limit is 2 sockets");
        ck_assert_int_eq(access(test_path("1"), F_OK), -1);
        config_free(config);
        listener_table_free(small);
        world_free(w);
}
END_TEST

/* ---- changes without a new socket ---- */

START_TEST(a_changed_backlog_is_set_on_the_same_socket) {
        struct world *w = world_new();
        unsigned port = test_free_port();
        struct identity socket;
        struct queue queue;

        ck_assert_int_eq(apply(w, "[Socket a]\nListenStream=127.0.0.1:%u\nBacklog=5\n", port), 0);
        socket = identity_of(w, "a", 0);
        ck_assert_int_eq(queue_read(socket.fd, &queue), 0);
        ck_assert_uint_eq(queue.limit, 5);
        ck_assert_int_eq(test_tcp_connect(port), 0);
        ck_assert_int_eq(apply(w, "[Socket a]\nListenStream=127.0.0.1:%u\nBacklog=9\n", port), 0);
        expect_counts(w, 0, 0, 0, 1, 0);
        expect_identity(w, "a", 0, socket);
        ck_assert_int_eq(queue_read(socket.fd, &queue), 0);
        ck_assert_uint_eq(queue.limit, 9);
        ck_assert_uint_eq(queue.length, 1);
        /* the hand-off does not take it for a holder's doing */
        ck_assert_uint_eq(find(w, "a")->sockets[0]->queue_limit, 9);
        ck_assert_int_eq(listener_check(find(w, "a")), 0);
        ck_assert_int_eq(queue_read(socket.fd, &queue), 0);
        ck_assert_uint_eq(queue.limit, 9);
        world_free(w);
}
END_TEST

START_TEST(a_changed_mode_and_owner_is_set_on_the_path) {
        struct world *w = world_new();
        const char *path = test_path("a.sock");
        struct identity socket;
        struct stat st;

        ck_assert_int_eq(apply(w, "[Socket a]\nListenStream=%s\nSocketMode=0600\n", path), 0);
        socket = identity_of(w, "a", 0);
        ck_assert_int_eq(apply(w, "[Socket a]\nListenStream=%s\nSocketMode=0660\n", path), 0);
        expect_identity(w, "a", 0, socket);
        ck_assert_uint_eq(mode_of(path), 0660);
        if (geteuid() == 0) {
                ck_assert_int_eq(apply(w,
                                       "[Socket a]\nListenStream=%s\nSocketMode=0660\n"
                                       "SocketUser=1234\nSocketGroup=2345\n",
                                       path),
                                 0);
                ck_assert_int_eq(lstat(path, &st), 0);
                ck_assert_uint_eq(st.st_uid, 1234);
                ck_assert_uint_eq(st.st_gid, 2345);
                ck_assert_int_eq(apply(w, "[Socket a]\nListenStream=%s\n", path), 0);
                ck_assert_int_eq(lstat(path, &st), 0);
                ck_assert_uint_eq(st.st_uid, 0);
                ck_assert_uint_eq(st.st_gid, 0);
                ck_assert_uint_eq(mode_of(path), 0666);
        }
        expect_identity(w, "a", 0, socket);
        world_free(w);
}
END_TEST

/* Modes are changed last, and back when a later one cannot be. */
START_TEST(a_mode_that_cannot_be_changed_takes_back_the_others) {
        struct world *w = world_new();
        const char *one = test_path("1.sock"), *two = test_path("2.sock");
        unsigned port = test_free_port();

        ck_assert_int_eq(
                apply(w, "[Socket a]\nListenStream=%s\n[Socket b]\nListenStream=%s\n", one, two),
                0);
        ck_assert_int_eq(unlink(two), 0); /* the loop does not run: nothing puts it back */
        (void) test_write("2.sock", "not a socket");
        ck_assert_int_eq(apply(w,
                               "[Socket a]\nListenStream=%s\nSocketMode=0600\n"
                               "[Socket b]\nListenStream=%s\nSocketMode=0600\n"
                               "[Socket c]\nListenStream=127.0.0.1:%u\n",
                               one, two, port),
                         -EINVAL);
        expect_diagnostic(w, SEVERITY_ERROR, "listener b: cannot change mode and owner of");
        ck_assert_uint_eq(mode_of(one), 0666);
        ck_assert_int_eq(test_tcp_connect(port), ECONNREFUSED);
        world_free(w);
}
END_TEST

START_TEST(non_blocking_is_not_changed_under_a_holder) {
        struct world *w = world_new();
        unsigned port = test_free_port();
        struct holder *holder;
        struct identity socket;

        ck_assert_int_eq(apply(w, "[Socket a]\nListenStream=127.0.0.1:%u\n", port), 0);
        socket = identity_of(w, "a", 0);
        ck_assert_int_eq(apply(w, "[Socket a]\nListenStream=127.0.0.1:%u\nNonBlocking=yes\n", port),
                         0);
        ck_assert_int_ne(fcntl(socket.fd, F_GETFL) & O_NONBLOCK, 0);
        ck_assert_uint_eq(w->diagnostics.count, 0);

        holder = hold(w, "a");
        ck_assert_int_eq(apply(w, "[Socket a]\nListenStream=127.0.0.1:%u\n", port), 0);
        ck_assert_int_ne(fcntl(socket.fd, F_GETFL) & O_NONBLOCK, 0);
        expect_diagnostic(w, SEVERITY_WARNING, "takes effect when the last lease ends");
        lease_end(lease_find(holder, find(w, "a")));
        ck_assert_int_eq(fcntl(socket.fd, F_GETFL) & O_NONBLOCK, 0);
        holder_put(holder);
        expect_identity(w, "a", 0, socket);
        world_free(w);
}
END_TEST

START_TEST(names_and_access_change_in_the_record_alone) {
        struct world *w = world_new();
        unsigned port = test_free_port();
        struct identity socket;

        ck_assert_int_eq(apply(w, "[Socket a]\nListenStream=127.0.0.1:%u\n", port), 0);
        socket = identity_of(w, "a", 0);
        ck_assert_int_eq(apply(w,
                               "[Socket a]\nListenStream=127.0.0.1:%u\nAccess=1234\n"
                               "FileDescriptorName=http\n",
                               port),
                         0);
        expect_counts(w, 0, 0, 0, 1, 0);
        expect_identity(w, "a", 0, socket);
        ck_assert_str_eq(find(w, "a")->config->fd_name, "http");
        ck_assert_uint_eq(find(w, "a")->config->access.n_users, 1);
        world_free(w);
}
END_TEST

START_TEST(bind_ipv6_only_needs_a_new_socket) {
        struct world *w = world_new();
        unsigned port = test_free_port();

        ck_assert_int_eq(
                apply(w, "[Socket a]\nListenStream=[::]:%u\nBindIPv6Only=ipv6-only\n", port), 0);
        ck_assert_int_eq(apply(w, "[Socket a]\nListenStream=[::]:%u\nBindIPv6Only=both\n", port),
                         -EINVAL);
        expect_diagnostic(w, SEVERITY_ERROR, "BindIPv6Only=");
        /* the default asks for nothing */
        ck_assert_int_eq(apply(w, "[Socket a]\nListenStream=[::]:%u\n", port), 0);
        world_free(w);
}
END_TEST

/* ---- scale ---- */

START_TEST(thousands_of_listeners_are_applied_without_quadratic_work) {
        enum { COUNT = 800 };
        struct world *w = world_new();
        size_t size = COUNT * 128;
        char *text = malloc(size);
        size_t used = 0;

        for (int i = 0; i < COUNT; i++)
                used += (size_t) snprintf(text + used, size - used,
                                          "[Socket s%d]\nListenStream=%s/%d.sock\n", i,
                                          test_folder(), i);
        ck_assert_int_eq(apply(w, "%s", text), 0);
        expect_counts(w, COUNT, 0, 0, 0, 0);
        ck_assert_int_eq(apply(w, "%s", text), 0);
        expect_counts(w, 0, 0, COUNT, 0, 0);
        world_free(w);

        /* what a crash leaves: stale files, looked up in one reading of the kernel's list */
        w = world_new();
        ck_assert_int_eq(apply(w, "%s", text), 0);
        expect_counts(w, COUNT, 0, 0, 0, 0);
        world_free(w);
        free(text);
}
END_TEST

SUITE("listener_table", {
        TEST(listeners_are_opened_and_found_in_name_order);
        TEST(what_is_in_both_is_not_touched);
        TEST(a_renamed_listener_keeps_socket_and_leases);
        TEST(listeners_that_swap_names_keep_their_sockets_and_leases);
        TEST(an_address_moves_between_listeners_without_a_bind);
        TEST(an_added_address_is_all_that_is_bound);
        TEST(a_bind_that_fails_takes_back_all_others);
        TEST(all_addresses_that_cannot_be_had_are_named);
        TEST(closing_must_be_allowed);
        TEST(the_last_lease_of_a_removed_listener_ends);
        TEST(the_broker_itself_in_the_way_is_named);
        TEST(more_sockets_than_the_limit_are_refused);
        TEST(a_changed_backlog_is_set_on_the_same_socket);
        TEST(a_changed_mode_and_owner_is_set_on_the_path);
        TEST(a_mode_that_cannot_be_changed_takes_back_the_others);
        TEST(non_blocking_is_not_changed_under_a_holder);
        TEST(names_and_access_change_in_the_record_alone);
        TEST(bind_ipv6_only_needs_a_new_socket);
        TEST(thousands_of_listeners_are_applied_without_quadratic_work);
})
