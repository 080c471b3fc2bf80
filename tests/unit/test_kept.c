/*
 * Sockets, holders and leases that were kept, for the table of listeners: what comes back, and that
 * a descriptor which is not what its record says is neither lent nor dropped.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "config/address.h"
#include "core/inherited.h"
#include "keeper/link.h"
#include "keeper/memory.h"
#include "sockets/kept.h"
#include "sockets/lease.h"
#include "sockets/listener.h"
#include "sockets_support.h"
#include "support.h"
#include "table_support.h"

/* A broker's table and memory; the test is the keeper. */
struct side {
        struct world *w;
        struct memory *memory;
        int keeper;
        char removed[256]; /* ids that the keeper was told to drop: " l1 l2" */
};

static struct message m;
static const char *const known[] = {"RECORD", "LISTENER", "ADDRESS", NULL};

static void begin(struct side *s, struct world *w) {
        int link_fd;

        *s = (struct side){.w = w};
        ck_assert_int_eq(link_new(&s->keeper, &link_fd), 0);
        ck_assert_int_eq(
                memory_new(&s->memory, FD_STORE_KEEPER, link_fd, w->inherited, w->loop, NULL), 0);
        ck_assert_int_eq(listener_table_set_memory(w->table, s->memory), 0);
}

static void end(struct side *s) {
        (void) listener_table_set_memory(s->w->table, NULL);
        memory_free(s->memory);
        world_free(s->w);
        close_fd(s->keeper);
}

/* Read what the keeper was told; what it has then is in `to`, unless that is NULL. */
static void read_link(struct side *s, struct inherited *to) {
        char id[STATE_ID_SIZE];

        while (message_receive(s->keeper, &m) > 0) {
                const char *name = memmem(m.data, m.size, "FDNAME=", 7);

                m.data[m.size < MESSAGE_SIZE_MAX ? m.size : MESSAGE_SIZE_MAX - 1] = '\0';
                if (name && sscanf(name, "FDNAME=%23s", id) == 1) {
                        size_t used = strlen(s->removed);
                        if (m.fds.count == 0)
                                (void) snprintf(s->removed + used, sizeof(s->removed) - used, " %s",
                                                id);
                        else if (to)
                                ck_assert_int_eq(
                                        inherited_put_fd(to, id, fd_list_take_fd(&m.fds, 0)), 0);
                }
                message_clear(&m);
        }
}

/* The broker dies; the next one begins with what the keeper has. */
static void die(struct side *s, struct side *next) {
        struct world *w = world_new();

        (void) listener_table_set_memory(s->w->table, NULL);
        s->memory = memory_free(s->memory);
        read_link(s, w->inherited);
        world_free(s->w);
        close_fd(s->keeper);
        begin(next, w);
}

static void give(struct side *s) {
        ck_assert_int_eq(kept_give_sockets(s->memory, s->w->inherited, NULL), 0);
}

/* What a start does when its listeners stand. */
static void settle(struct side *s) {
        memory_forget_unclaimed(s->memory);
        kept_put_unclaimed(s->memory, s->w->inherited, NULL);
        memory_forget_nameless(s->memory, s->w->inherited);
        read_link(s, NULL);
}

/* A record and a descriptor, which need not be of each other; the caller has fd, or -1. */
static void put(struct side *s, const char *listener, const char *address, int fd,
                char ret[STATE_ID_SIZE]) {
        struct packet_writer w;

        memory_new_id(s->memory, 'l', ret);
        packet_begin(&w);
        packet_add(&w, "RECORD", "socket");
        if (listener)
                packet_add(&w, "LISTENER", listener);
        packet_add(&w, "ADDRESS", address);
        ck_assert_int_eq(memory_put(s->memory, ret, &w, known), 0);
        if (fd >= 0)
                ck_assert_int_eq(memory_put_fd(s->memory, ret, fd), 0);
}

static const char *on(unsigned port) {
        static char text[64];

        (void) snprintf(text, sizeof(text), "127.0.0.1:%u", port);
        return text;
}

static bool has_kept(const struct inherited *all, const char *name, const char *id) {
        for (size_t i = 0; i < inherited_count(all); i++) {
                const char *its = inherited_id(all, i);
                if (strcmp(inherited_name(all, i), name) == 0)
                        return id ? its && strcmp(its, id) == 0 : !its;
        }
        return false;
}

START_TEST(sockets_and_leases_come_back) {
        struct side s, next;
        struct identity before;
        struct holder *holder;

        begin(&s, world_new());
        ck_assert_int_eq(apply(s.w, "[Socket web]\nListenStream=%s\n", on(test_free_port())), 0);
        ck_assert_int_eq(
                apply(s.w, "[Socket web]\nListenStream=%s\n[Socket app]\nListenStream=%s\n",
                      on(test_port_of(identity_of(s.w, "web", 0).fd)), test_path("app.sock")),
                0);
        before = identity_of(s.w, "web", 0);
        unsigned port = test_port_of(before.fd);
        holder = hold(s.w, "web");
        holder_put(holder);
        die(&s, &next);
        give(&next);
        ck_assert_int_eq(apply(next.w,
                               "[Socket web]\nListenStream=%s\n[Socket app]\nListenStream=%s\n",
                               on(port), test_path("app.sock")),
                         0);
        expect_counts(next.w, 0, 2, 0, 0, 0);
        ck_assert_uint_eq(identity_of(next.w, "web", 0).inode, before.inode);
        kept_restore_leases(next.w->table);
        ck_assert_uint_eq(find(next.w, "web")->n_leases, 1);
        settle(&next);
        ck_assert_str_eq(next.removed, "");
        end(&next);
}
END_TEST

START_TEST(a_record_without_its_socket_goes_and_the_listener_is_bound) {
        unsigned port = test_free_port();
        char id[STATE_ID_SIZE];
        struct assignments a;
        struct side s, next;

        begin(&s, world_new());
        put(&s, "web", on(port), -1, id);
        die(&s, &next);
        give(&next);
        ck_assert(!memory_get(next.memory, id, &a));
        ck_assert_int_eq(apply(next.w, "[Socket web]\nListenStream=%s\n", on(port)), 0);
        expect_counts(next.w, 1, 0, 0, 0, 0);
        end(&next);
}
END_TEST

/* It is nobody's: neither lent as that listener, nor closed, before and after the new one stands.
 */
START_TEST(a_socket_of_another_address_stays_open_and_unclaimed) {
        int fd = test_tcp_listener();
        unsigned port = test_port_of(fd), wanted = test_free_port();
        char id[STATE_ID_SIZE];
        struct side s, next;

        begin(&s, world_new());
        put(&s, _i == 0 ? "web" : NULL, on(wanted), fd, id);
        die(&s, &next);
        close_fd(fd);
        give(&next);
        ck_assert(has_kept(next.w->inherited, id, NULL));
        ck_assert_int_eq(test_tcp_connect(port), 0);
        ck_assert_int_eq(apply(next.w, "[Socket web]\nListenStream=%s\n", on(wanted)), 0);
        expect_counts(next.w, 1, 0, 0, 0, 0);
        settle(&next);
        ck_assert(has_kept(next.w->inherited, id, id));
        ck_assert_str_eq(next.removed, "");
        ck_assert_int_eq(test_tcp_connect(port), 0);
        end(&next);
}
END_TEST

START_TEST(an_unclaimed_one_is_known_in_the_next_life_and_closed_when_that_is_allowed) {
        int fd = test_tcp_listener();
        unsigned port = test_port_of(fd), wanted = test_free_port();
        char id[STATE_ID_SIZE];
        struct side s, next, last;

        begin(&s, world_new());
        put(&s, "web", on(wanted), fd, id);
        die(&s, &next);
        close_fd(fd);
        give(&next);
        ck_assert_int_eq(apply(next.w, "[Socket web]\nListenStream=%s\n", on(wanted)), 0);
        memory_forget_unclaimed(next.memory);
        kept_put_unclaimed(next.memory, next.w->inherited, NULL);
        memory_forget_nameless(next.memory, next.w->inherited);
        die(&next, &last);
        give(&last);
        ck_assert(has_kept(last.w->inherited, id, id));
        ck_assert_int_eq(apply(last.w, "[Socket web]\nListenStream=%s\n", on(wanted)), 0);
        settle(&last);
        ck_assert_int_eq(test_tcp_connect(port), 0);
        last.w->allow_close = true;
        ck_assert_int_eq(apply(last.w, "[Socket web]\nListenStream=%s\n", on(wanted)), 0);
        read_link(&last, NULL);
        ck_assert_ptr_nonnull(strstr(last.removed, id));
        ck_assert_int_eq(test_tcp_connect(port), ECONNREFUSED);
        end(&last);
}
END_TEST

/* Of two descriptors that are under each other's record each finds its listener. */
START_TEST(swapped_sockets_are_claimed_by_their_addresses) {
        int web = test_tcp_listener(), api = test_tcp_listener();
        unsigned ports[] = {test_port_of(web), test_port_of(api)};
        char ids[2][STATE_ID_SIZE], addresses[2][64];
        struct side s, next;

        begin(&s, world_new());
        (void) snprintf(addresses[0], sizeof(addresses[0]), "%s", on(ports[0]));
        (void) snprintf(addresses[1], sizeof(addresses[1]), "%s", on(ports[1]));
        put(&s, "web", addresses[0], api, ids[0]);
        put(&s, "api", addresses[1], web, ids[1]);
        die(&s, &next);
        close_fd(web);
        close_fd(api);
        give(&next);
        ck_assert_int_eq(apply(next.w,
                               "[Socket web]\nListenStream=%s\n[Socket api]\nListenStream=%s\n",
                               addresses[0], addresses[1]),
                         0);
        expect_counts(next.w, 0, 2, 0, 0, 0);
        ck_assert_uint_eq(test_port_of(identity_of(next.w, "web", 0).fd), ports[0]);
        ck_assert_uint_eq(test_port_of(identity_of(next.w, "api", 0).fd), ports[1]);
        settle(&next);
        /* under new ids, and the old copies are gone from the store */
        ck_assert_ptr_nonnull(strstr(next.removed, ids[0]));
        ck_assert_ptr_nonnull(strstr(next.removed, ids[1]));
        ck_assert_uint_eq(inherited_count(next.w->inherited), 0);
        end(&next);
}
END_TEST

START_TEST(what_is_no_listening_socket_goes_when_the_listener_stands_and_not_before) {
        unsigned port = test_free_port();
        char id[STATE_ID_SIZE];
        struct side s, next;

        begin(&s, world_new());
        put(&s, "web", on(port), STDIN_FILENO, id);
        die(&s, &next);
        give(&next);
        read_link(&next, NULL);
        ck_assert(has_kept(next.w->inherited, id, NULL));
        ck_assert_str_eq(next.removed, "");
        ck_assert_int_eq(apply(next.w, "[Socket web]\nListenStream=%s\n", on(port)), 0);
        settle(&next);
        ck_assert_ptr_nonnull(strstr(next.removed, id));
        ck_assert_uint_eq(inherited_count(next.w->inherited), 0);
        end(&next);
}
END_TEST

static int wildcard_listener(unsigned port) {
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_eq(bind(fd, (struct sockaddr *) &any, sizeof(any)), 0);
        ck_assert_int_eq(listen(fd, TEST_BACKLOG), 0);
        return fd;
}

/* The new one cannot be bound because of the old one: then it is the old one that is not lost. */
START_TEST(when_it_is_in_the_way_of_the_new_one_nothing_is_changed) {
        unsigned port = test_free_port();
        int fd = wildcard_listener(port);
        char id[STATE_ID_SIZE];
        struct side s, next;

        begin(&s, world_new());
        put(&s, "web", on(port), fd, id);
        die(&s, &next);
        close_fd(fd);
        give(&next);
        ck_assert_int_lt(apply(next.w, "[Socket web]\nListenStream=%s\n", on(port)), 0);
        read_link(&next, NULL);
        ck_assert_str_eq(next.removed, "");
        ck_assert(has_kept(next.w->inherited, id, NULL));
        ck_assert_int_eq(test_tcp_connect(port), 0);
        /* configured as it is, it is that listener's */
        ck_assert_int_eq(apply(next.w, "[Socket web]\nListenStream=0.0.0.0:%u\n", port), 0);
        expect_counts(next.w, 0, 1, 0, 0, 0);
        end(&next);
}
END_TEST

SUITE("kept", {
        TEST(sockets_and_leases_come_back);
        TEST(a_record_without_its_socket_goes_and_the_listener_is_bound);
        tcase_add_loop_test(tests_, a_socket_of_another_address_stays_open_and_unclaimed, 0, 2);
        TEST(an_unclaimed_one_is_known_in_the_next_life_and_closed_when_that_is_allowed);
        TEST(swapped_sockets_are_claimed_by_their_addresses);
        TEST(what_is_no_listening_socket_goes_when_the_listener_stands_and_not_before);
        TEST(when_it_is_in_the_way_of_the_new_one_nothing_is_changed);
})
