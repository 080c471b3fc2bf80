/* Sockets that were given at start are used in place of binding: by address, then by name. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "sockets_support.h"
#include "support.h"
#include "table_support.h"

/* Gives a listening socket as systemd would; returns its inode. */
static ino_t give(struct world *w, const char *name, int fd) {
        struct stat st;

        ck_assert_int_eq(fstat(fd, &st), 0);
        ck_assert_int_eq(inherited_put_fd(w->inherited, name, fd), 0);
        return st.st_ino;
}

START_TEST(a_given_socket_is_adopted_by_its_address) {
        struct world *w = world_new();
        int fd = test_tcp_listener();
        unsigned port = test_port_of(fd);
        ino_t tcp, path;

        give(w, "stranger", test_tcp_listener());
        tcp = give(w, "whatever", fd);
        path = give(w, "whatever", test_unix_listener(test_path("api.sock")));
        ck_assert_int_eq(apply(w,
                               "[Socket web]\nListenStream=127.0.0.1:%u\n"
                               "[Socket api]\nListenStream=%s\n",
                               port, test_path("api.sock")),
                         0);
        expect_counts(w, 0, 2, 0, 0, 0);
        ck_assert_uint_eq(w->diagnostics.count, 0);
        ck_assert_uint_eq(find(w, "web")->sockets[0]->inode, tcp);
        ck_assert_uint_eq(find(w, "api")->sockets[0]->inode, path);
        ck_assert(find(w, "web")->sockets[0]->adopted);
        ck_assert_uint_eq(inherited_count(w->inherited), 1); /* what nobody claims stays */
        ck_assert_str_eq(inherited_name(w->inherited, 0), "stranger");
        world_free(w);
        ck_assert_int_eq(access(test_path("api.sock"), F_OK), 0);
}
END_TEST

START_TEST(a_given_socket_is_adopted_by_its_name_with_a_warning) {
        static const char *const names[] = {"web", "web.socket", "http"};

        for (size_t i = 0; i < 3; i++) {
                struct world *w = world_new();
                int fd = test_tcp_listener();
                unsigned wanted = test_free_port();
                ino_t inode = give(w, names[i], fd);
                char text[128];

                (void) snprintf(text, sizeof(text),
                                "[Socket web]\nListenStream=127.0.0.1:%u\n"
                                "FileDescriptorName=http\n",
                                wanted);
                ck_assert_int_eq(apply(w, "%s", text), 0);
                expect_counts(w, 0, 1, 0, 0, 0);
                ck_assert_uint_eq(find(w, "web")->sockets[0]->inode, inode);
                expect_diagnostic(w, SEVERITY_WARNING, "and not on 127.0.0.1:");
                ck_assert_uint_eq(address_port(&find(w, "web")->sockets[0]->address),
                                  test_port_of(fd));
                ck_assert_int_eq(test_tcp_connect(wanted), ECONNREFUSED);

                /* it stands for what is configured, so the next apply keeps it */
                ck_assert_int_eq(apply(w, "%s", text), 0);
                expect_counts(w, 0, 0, 1, 0, 0);
                ck_assert_uint_eq(find(w, "web")->sockets[0]->inode, inode);

                /* and also when the configuration is made to agree */
                ck_assert_int_eq(apply(w,
                                       "[Socket web]\nListenStream=127.0.0.1:%u\n"
                                       "FileDescriptorName=http\n",
                                       test_port_of(fd)),
                                 0);
                ck_assert_uint_eq(find(w, "web")->sockets[0]->inode, inode);

                /* from then on it stands for its own address, and the other one is free again */
                ck_assert_int_eq(apply(w,
                                       "[Socket web]\nListenStream=127.0.0.1:%u\n"
                                       "FileDescriptorName=http\n"
                                       "[Socket other]\nListenStream=127.0.0.1:%u\n",
                                       test_port_of(fd), wanted),
                                 0);
                ck_assert_uint_eq(find(w, "web")->sockets[0]->inode, inode);
                ck_assert_int_eq(test_tcp_connect(wanted), 0);
                world_free(w);
        }
}
END_TEST

START_TEST(addresses_come_before_names) {
        struct world *w = world_new();
        int one = test_tcp_listener(), two = test_tcp_listener();
        ino_t inode_one = give(w, "a", one), inode_two = give(w, "b", two);

        ck_assert_int_eq(apply(w,
                               "[Socket a]\nListenStream=127.0.0.1:%u\n"
                               "[Socket b]\nListenStream=127.0.0.1:%u\n",
                               test_port_of(two), test_port_of(one)),
                         0);
        ck_assert_uint_eq(find(w, "a")->sockets[0]->inode, inode_two);
        ck_assert_uint_eq(find(w, "b")->sockets[0]->inode, inode_one);
        ck_assert_uint_eq(w->diagnostics.count, 0);
        world_free(w);
}
END_TEST

START_TEST(what_cannot_be_a_listener_is_not_adopted) {
        static const struct {
                int kind;
                const char *says;
        } rows[] = {{0, "does not listen"},
                    {1, "is not a stream socket"},
                    {2, "is not a socket"},
                    {3, "is a Unix socket"}};

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct world *w = world_new();
                int fd = -1;

                switch (rows[i].kind) {
                case 0:
                        fd = test_tcp_bound(0);
                        break;
                case 1:
                        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
                        break;
                case 2:
                        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
                        break;
                default:
                        fd = test_unix_listener(test_path("web.sock"));
                }
                give(w, "web", fd);
                ck_assert_int_eq(
                        apply(w, "[Socket web]\nListenStream=127.0.0.1:%u\n", test_free_port()),
                        -EINVAL);
                expect_diagnostic(w, SEVERITY_ERROR, rows[i].says);
                ck_assert_uint_eq(inherited_count(w->inherited), 1);
                ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
                world_free(w);
        }
}
END_TEST

START_TEST(a_failed_apply_leaves_given_sockets_where_they_were) {
        struct world *w = world_new();
        int fd = test_tcp_listener();
        _cleanup_close_ int other = test_tcp_listener();

        give(w, "web", fd);
        ck_assert_int_eq(apply(w,
                               "[Socket web]\nListenStream=127.0.0.1:%u\n"
                               "[Socket zoo]\nListenStream=127.0.0.1:%u\n",
                               test_port_of(fd), test_port_of(other)),
                         -EINVAL);
        ck_assert_uint_eq(inherited_count(w->inherited), 1);
        ck_assert_int_eq(inherited_peek_fd(w->inherited, 0), fd);
        ck_assert(test_is_accepting(fd));
        world_free(w);
}
END_TEST

/* The path of an adopted socket belongs to who made it. */
START_TEST(the_path_of_an_adopted_socket_is_not_removed) {
        struct world *w = world_new();
        const char *path = test_path("api.sock");

        give(w, "api", test_unix_listener(path));
        w->allow_close = true;
        ck_assert_int_eq(apply(w, "[Socket api]\nListenStream=%s\n", path), 0);
        ck_assert_int_eq(apply(w, "[Socket b]\nListenStream=127.0.0.1:%u\n", test_free_port()), 0);
        ck_assert_int_eq(access(path, F_OK), 0);
        world_free(w);
}
END_TEST

SUITE("adopt", {
        TEST(a_given_socket_is_adopted_by_its_address);
        TEST(a_given_socket_is_adopted_by_its_name_with_a_warning);
        TEST(addresses_come_before_names);
        TEST(what_cannot_be_a_listener_is_not_adopted);
        TEST(a_failed_apply_leaves_given_sockets_where_they_were);
        TEST(the_path_of_an_adopted_socket_is_not_removed);
})
