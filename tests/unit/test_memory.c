/*
 * State document and fd store as one: what is given back at the start, whatever is damaged or
 * missing, and that nothing leaks on the way. support.c compares the descriptors.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/process.h"
#include "keeper/charge.h"
#include "keeper/link.h"
#include "keeper/memory.h"
#include "support.h"

struct side {
        struct loop *loop;
        struct memory *memory;
        struct inherited *inherited;
        int keeper; /* the other end */
        int made;   /* new keepers */
};

static struct message m;
static const char *const known[] = {"RECORD", "NAME", NULL};

static void begin(struct side *s) {
        *s = (struct side){.keeper = -1};
        ck_assert_int_eq(loop_new(&s->loop), 0);
        ck_assert_int_eq(inherited_new(&s->inherited), 0);
}

static int try_open(struct side *s) {
        int link_fd;

        ck_assert_int_eq(link_new(&s->keeper, &link_fd), 0);
        return memory_new(&s->memory, FD_STORE_KEEPER, link_fd, s->inherited, s->loop, NULL);
}

static void end(struct side *s) {
        memory_free(s->memory);
        inherited_free(s->inherited);
        close_fd(s->keeper);
        loop_free(s->loop);
}

/* The next packet at the keeper; *ret_fd is -1 or the caller's. */
static const char *next(struct side *s, int *ret_fd) {
        static char text[MESSAGE_SIZE_MAX + 1];

        text[0] = '\0';
        *ret_fd = -1;
        if (message_receive(s->keeper, &m) > 0) {
                memcpy(text, m.data, m.size);
                text[m.size] = '\0';
                if (m.fds.count > 0)
                        *ret_fd = fd_list_take_fd(&m.fds, 0);
                message_clear(&m);
        }
        return text;
}

static void expect(struct side *s, const char *packet) {
        int fd;

        ck_assert_str_eq(next(s, &fd), packet);
        close_fd(fd);
}

static void put(struct side *s, const char *kind, char letter, int fd, char ret[STATE_ID_SIZE]) {
        struct packet_writer w;

        memory_new_id(s->memory, letter, ret);
        packet_begin(&w);
        packet_add(&w, "RECORD", kind);
        packet_add(&w, "NAME", "web");
        ck_assert_int_eq(memory_put(s->memory, ret, &w, known), 0);
        if (fd >= 0)
                ck_assert_int_eq(memory_put_fd(s->memory, ret, fd), 0);
}

/* What a broker that died left: everything that the keeper has, in `inherited` of `to`. */
static void die(struct side *s, struct side *to) {
        const char *text;
        int fd;

        begin(to);
        s->memory = memory_free(s->memory);
        while (*(text = next(s, &fd))) {
                const char *name = strstr(text, "FDNAME=");
                char id[STATE_ID_SIZE];

                if (fd < 0 || !name)
                        continue;
                ck_assert_int_eq(sscanf(name, "FDNAME=%23s", id), 1);
                ck_assert_int_eq(inherited_put_fd(to->inherited, id, fd), 0);
        }
        end(s);
}

static int listening_socket(void) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(listen(fd, 5), 0);
        return fd;
}

/* The kept state document, for a test to damage. */
static int peek_state(const struct side *s) {
        for (size_t i = 0; i < inherited_count(s->inherited); i++)
                if (strcmp(inherited_name(s->inherited, i), "state") == 0)
                        return inherited_peek_fd(s->inherited, i);
        ck_abort_msg("no state document");
        return -1;
}

START_TEST(records_and_descriptors_come_back_together) {
        struct side s, again;
        char id[STATE_ID_SIZE];
        struct assignments a;
        int fd;

        begin(&s);
        ck_assert_int_eq(try_open(&s), 0);
        put(&s, "socket", 'l', STDIN_FILENO, id);
        die(&s, &again);
        ck_assert_int_eq(try_open(&again), 0);
        ck_assert_uint_eq(inherited_count(again.inherited), 0);
        ck_assert_str_eq(memory_first(again.memory, "socket"), id);
        ck_assert_ptr_null(memory_next(again.memory, "socket", id));
        ck_assert_ptr_null(memory_first(again.memory, "lease"));
        ck_assert(memory_get(again.memory, id, &a));
        fd = memory_take_fd(again.memory, id);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(memory_take_fd(again.memory, id), -1);
        memory_forget_unclaimed(again.memory);
        ck_assert_str_eq(memory_first(again.memory, "socket"), id);
        close_fd(fd);
        end(&again);
}
END_TEST

START_TEST(what_nobody_takes_is_dropped_from_the_store_too) {
        struct side s, again;
        char id[STATE_ID_SIZE], packet[64];

        begin(&s);
        ck_assert_int_eq(try_open(&s), 0);
        put(&s, "socket", 'l', STDIN_FILENO, id);
        die(&s, &again);
        ck_assert_int_eq(try_open(&again), 0);
        expect(&again, "FDSTORE=1\nFDNAME=state\n");
        memory_forget_unclaimed(again.memory);
        (void) snprintf(packet, sizeof(packet), "FDSTOREREMOVE=1\nFDNAME=%s\n", id);
        expect(&again, packet);
        ck_assert_ptr_null(memory_first(again.memory, "socket"));
        end(&again);
}
END_TEST

/* By the id that memory_first() gave, which is the record's own. */
START_TEST(a_record_is_removed_by_its_own_id) {
        char id[STATE_ID_SIZE];
        struct side s;

        begin(&s);
        ck_assert_int_eq(try_open(&s), 0);
        put(&s, "holder", 'h', STDIN_FILENO, id);
        memory_remove(s.memory, memory_first(s.memory, "holder"));
        expect(&s, "FDSTORE=1\nFDNAME=state\n");
        expect(&s, "FDSTORE=1\nFDNAME=h1\n");
        expect(&s, "FDSTOREREMOVE=1\nFDNAME=h1\n");
        end(&s);
}
END_TEST

START_TEST(a_record_without_its_descriptor_loads) {
        struct side s, again;
        char id[STATE_ID_SIZE];

        begin(&s);
        ck_assert_int_eq(try_open(&s), 0);
        put(&s, "socket", 'l', -1, id);
        die(&s, &again);
        ck_assert_int_eq(try_open(&again), 0);
        ck_assert_str_eq(memory_first(again.memory, "socket"), id);
        ck_assert_int_eq(memory_take_fd(again.memory, id), -1);
        end(&again);
}
END_TEST

/* Replacing is one packet: death between two would lose what is replaced. */
START_TEST(a_replaced_descriptor_is_never_missing_at_the_keeper) {
        char id[STATE_ID_SIZE];
        struct side s;

        begin(&s);
        ck_assert_int_eq(try_open(&s), 0);
        put(&s, "socket", 'l', STDIN_FILENO, id);
        ck_assert_int_eq(memory_put_fd(s.memory, id, STDOUT_FILENO), 0);
        expect(&s, "FDSTORE=1\nFDNAME=state\n");
        expect(&s, "FDSTORE=1\nFDNAME=l1\n");
        expect(&s, "FDSTORE=1\nFDNAME=l1\n");
        expect(&s, "");
        end(&s);
}
END_TEST

static void overwrite(int fd, off_t at, const void *data, size_t size) {
        ck_assert_int_eq(pwrite(fd, data, size, at), (ssize_t) size);
}

static void damage_magic(int fd) {
        overwrite(fd, 0, "nonsense", 8);
}
static void damage_format(int fd) {
        overwrite(fd, 16, &(uint32_t){4711}, 4);
}
static void damage_size(int fd) {
        ck_assert_int_eq(ftruncate(fd, 30), 0);
}
static void damage_all(int fd) {
        char junk[4096];

        memset(junk, 0xa5, sizeof(junk));
        overwrite(fd, 0, junk, sizeof(junk));
}
static void (*const damages[])(int fd) = {damage_magic, damage_format, damage_size, damage_all};

/*
 * Without a document, descriptors are left to be claimed by what they are; their ids are not given
 * anew; then the old copies go, and what is no listening socket is closed.
 */
START_TEST(with_the_document_lost_descriptors_are_claimed_by_what_they_are) {
        char lid[STATE_ID_SIZE], hid[STATE_ID_SIZE], unclaimed[STATE_ID_SIZE], fresh[STATE_ID_SIZE];
        int fd = listening_socket(), other = listening_socket();
        struct side s, again;

        begin(&s);
        ck_assert_int_eq(try_open(&s), 0);
        put(&s, "socket", 'l', fd, lid);
        put(&s, "holder", 'h', STDIN_FILENO, hid);
        put(&s, "socket", 'l', other, unclaimed);
        die(&s, &again);
        close_fd(fd);
        close_fd(other);
        damages[_i](peek_state(&again));
        ck_assert_int_eq(try_open(&again), 0);
        expect(&again, "FDSTOREREMOVE=1\nFDNAME=state\n");
        expect(&again, "FDSTORE=1\nFDNAME=state\n");
        ck_assert_uint_eq(inherited_count(again.inherited), 3);
        for (int i = 0; i < 5; i++) {
                memory_new_id(again.memory, 'l', fresh);
                ck_assert_str_ne(fresh, lid);
                ck_assert_str_ne(fresh, unclaimed);
        }
        /* apply claims the first */
        ck_assert_str_eq(inherited_name(again.inherited, 0), lid);
        close_fd(inherited_take_fd(again.inherited, 0));
        memory_forget_nameless(again.memory, again.inherited);
        expect(&again, "FDSTOREREMOVE=1\nFDNAME=l1\n");
        expect(&again, "FDSTOREREMOVE=1\nFDNAME=h2\n");
        expect(&again, "");
        ck_assert_uint_eq(inherited_count(again.inherited), 1);
        ck_assert_str_eq(inherited_name(again.inherited, 0), unclaimed);
        end(&again);
}
END_TEST

/* Names that systemd's socket units gave are not ours, whatever there is of ours. */
START_TEST(names_of_others_stay_what_they_are) {
        static const char *const names[] = {"web.socket", "s0", "l", "l1x", "1", "", "x5"};
        const size_t count = sizeof(names) / sizeof(names[0]);
        struct side s;

        begin(&s);
        for (size_t i = 0; i < count; i++)
                ck_assert_int_eq(inherited_put_fd(s.inherited, names[i],
                                                  fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)),
                                 0);
        ck_assert_int_eq(try_open(&s), 0);
        memory_forget_nameless(s.memory, s.inherited);
        ck_assert_uint_eq(inherited_count(s.inherited), count);
        end(&s);
}
END_TEST

static int another_keeper(void *owner, int *ret_pidfd) {
        struct side *s = owner;
        int link_fd;

        s->made++;
        close_fd(s->keeper);
        ck_assert_int_eq(link_new(&s->keeper, &link_fd), 0);
        return link_fd;
}

static void count(void *owner) {
        (*(int *) owner)++;
}

START_TEST(a_new_keeper_gets_everything_and_then_the_barrier) {
        char id[STATE_ID_SIZE];
        int done = 0;
        struct side s;

        begin(&s);
        ck_assert_int_eq(try_open(&s), 0);
        memory_set_keeper(s.memory, another_keeper, &s);
        put(&s, "socket", 'l', STDIN_FILENO, id);
        memory_say_ready(s.memory);
        ck_assert_int_eq(shutdown(s.keeper, SHUT_RDWR), 0);
        /* it is not known yet that there is nobody: neither is an error */
        ck_assert_int_eq(memory_put_fd(s.memory, id, STDOUT_FILENO), 0);
        ck_assert_int_eq(memory_barrier(s.memory, count, &done), 0);
        while (s.made == 0)
                loop_run_once(s.loop, true);
        expect(&s, "FDSTORE=1\nFDNAME=state\n");
        expect(&s, "FDSTORE=1\nFDNAME=l1\n");
        expect(&s, "BARRIER=2\n");
        expect(&s, "READY=1");
        ck_assert_int_eq(message_send(s.keeper, "BARRIER=2", 9, NULL, 0), 0);
        loop_run_once(s.loop, true);
        ck_assert_int_eq(done, 1);
        end(&s);
}
END_TEST

/* If we die on the way, it is to have that finished and not us to serve again. */
START_TEST(a_new_keeper_hears_that_we_are_about_to_end) {
        struct side s;

        begin(&s);
        ck_assert_int_eq(try_open(&s), 0);
        memory_set_keeper(s.memory, another_keeper, &s);
        memory_say_ready(s.memory);
        memory_say_ending(s.memory);
        ck_assert_int_eq(shutdown(s.keeper, SHUT_RDWR), 0);
        while (s.made == 0)
                loop_run_once(s.loop, true);
        expect(&s, "FDSTORE=1\nFDNAME=state\n");
        expect(&s, "READY=1");
        expect(&s, "ENDING=1");
        end(&s);
}
END_TEST

/* One that ends as soon as it is started must not take the loop for itself. */
START_TEST(keepers_that_end_at_once_are_started_at_intervals) {
        struct side s;
        uint64_t begun = loop_now_usec();

        begin(&s);
        ck_assert_int_eq(try_open(&s), 0);
        memory_set_keeper(s.memory, another_keeper, &s);
        while (s.made < 3) {
                s.keeper = close_fd(s.keeper);
                loop_run_once(s.loop, true);
        }
        ck_assert_uint_ge(loop_now_usec() - begun, 300000);
        end(&s);
}
END_TEST

/* The next packet, which comes with a descriptor that is the caller's. */
static int expect_fd(struct side *s, const char *packet) {
        int fd;

        ck_assert_str_eq(next(s, &fd), packet);
        ck_assert_int_ge(fd, 0);
        return fd;
}

/* One from outside takes the place of the one that there is; its end of the link. */
static int change_keeper(struct side *s) {
        int end, link_fd;

        ck_assert_int_eq(link_new(&end, &link_fd), 0);
        ck_assert_int_eq(memory_change_keeper(s->memory, link_fd), 0);
        return end;
}

START_TEST(a_keeper_from_outside_is_not_replaced) {
        int ends[2];
        struct side s;

        begin(&s);
        ck_assert_int_eq(try_open(&s), 0);
        ck_assert_int_eq(link_new(&ends[0], &ends[1]), 0);
        ck_assert_int_eq(memory_change_keeper(s.memory, ends[1]), -EBUSY);
        close_fd(ends[0]);
        close_fd(ends[1]);
        end(&s);
}
END_TEST

/* Whether or not the loop has told of it: it is in charge before it has the first descriptor. */
START_TEST(in_place_of_a_dead_keeper_a_new_one_is_in_charge_at_once) {
        char id[STATE_ID_SIZE];
        struct side s;

        begin(&s);
        ck_assert_int_eq(try_open(&s), 0);
        put(&s, "socket", 'l', STDIN_FILENO, id);
        close_fd(s.keeper);
        s.keeper = change_keeper(&s);
        close_fd(expect_fd(&s, "BROKER=1"));
        close_fd(expect_fd(&s, "EXECUTABLE=1"));
        expect(&s, "SOLE=1");
        expect(&s, "FDSTORE=1\nFDNAME=state\n");
        expect(&s, "FDSTORE=1\nFDNAME=l1\n");
        expect(&s, "");
        end(&s);
}
END_TEST

/* A process that is a keeper which a broker made; stopped, so that only SIGKILL ends it. */
static pid_t made_keeper(struct side *s) {
        pid_t pid = fork();
        int status;

        if (pid == 0) {
                (void) raise(SIGSTOP);
                _exit(0);
        }
        ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
        ck_assert_int_eq(inherited_put_fd(s->inherited, LINK_MADE_KEEPER, process_open(pid)), 0);
        return pid;
}

/* What the keeper that is to leave was told last. */
static int charge_of(int link_fd) {
        int fd = -1;

        while (message_receive(link_fd, &m) > 0) {
                if (m.size == 8 && memcmp(m.data, "CHARGE=1", 8) == 0)
                        fd = fd_list_take_fd(&m.fds, 0);
                message_clear(&m);
        }
        return fd;
}

START_TEST(one_that_a_broker_made_is_ended_when_the_next_has_everything) {
        int status, old, charge, left, ends[2];
        char id[STATE_ID_SIZE];
        struct side s;
        pid_t pid;

        begin(&s);
        pid = made_keeper(&s);
        ck_assert_int_eq(try_open(&s), 0);
        put(&s, "socket", 'l', STDIN_FILENO, id);
        memory_say_ready(s.memory);
        old = s.keeper;
        s.keeper = change_keeper(&s);
        /* a third is refused meanwhile */
        ck_assert_int_eq(link_new(&ends[0], &ends[1]), 0);
        ck_assert_int_eq(memory_change_keeper(s.memory, ends[1]), -EBUSY);
        close_fd(expect_fd(&s, "BROKER=1"));
        charge = expect_fd(&s, "CHARGE=1");
        close_fd(expect_fd(&s, "EXECUTABLE=1"));
        expect(&s, "FDSTORE=1\nFDNAME=state\n");
        expect(&s, "FDSTORE=1\nFDNAME=l1\n");
        expect(&s, "READY=1");
        expect(&s, "BARRIER=1\n");
        ck_assert_int_eq(waitpid(pid, &status, WNOHANG), 0);
        if (_i == 0) {
                ck_assert_int_eq(message_send(s.keeper, "BARRIER=1", 9, NULL, 0), 0);
                loop_run_once(s.loop, true);
                expect(&s, "SOLE=1");
                expect(&s, "BARRIER=2\n");
                /* both could be in charge: it is one of them */
                ck_assert_int_eq(waitpid(pid, &status, WNOHANG), 0);
                left = charge_of(old);
                ck_assert(charge_draw(&charge) && !charge_draw(&left));
                ck_assert_int_eq(message_send(s.keeper, "BARRIER=2", 9, NULL, 0), 0);
                loop_run_once(s.loop, true);
        } else {
                memory_say_stopping(s.memory); /* or it would start another broker after it */
                expect(&s, "STOPPING=1");
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status));
        /* from now on this one is from outside */
        ck_assert_int_eq(memory_change_keeper(s.memory, ends[1]), -EBUSY);
        close_fd(ends[0]);
        close_fd(ends[1]);
        close_fd(charge);
        close_fd(old);
        end(&s);
}
END_TEST

/* A supervisor starts the next one at once; the keeper that leaves is in charge until that has
 * everything. */
START_TEST(in_place_of_a_new_one_that_dies_before_it_has_everything_comes_another) {
        int status, old;
        struct side s;
        pid_t pid;

        begin(&s);
        pid = made_keeper(&s);
        ck_assert_int_eq(try_open(&s), 0);
        old = s.keeper;
        for (int n = 0; n < 2; n++) {
                s.keeper = change_keeper(&s);
                if (n == 0)
                        close_fd(s.keeper);
        }
        ck_assert_int_eq(waitpid(pid, &status, WNOHANG), 0);
        close_fd(expect_fd(&s, "BROKER=1"));
        close_fd(expect_fd(&s, "EXECUTABLE=1"));
        expect(&s, "FDSTORE=1\nFDNAME=state\n");
        expect(&s, "BARRIER=2\n");
        expect(&s, "BARRIER=3\n");
        expect(&s, "");
        ck_assert_int_eq(message_send(s.keeper, "BARRIER=2", 9, NULL, 0), 0);
        ck_assert_int_eq(message_send(s.keeper, "BARRIER=3", 9, NULL, 0), 0);
        loop_run_once(s.loop, true);
        loop_run_once(s.loop, true);
        /* it was told of the charge of the one that died, and nobody else was */
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        expect(&s, "SOLE=1");
        expect(&s, "");
        close_fd(old);
        end(&s);
}
END_TEST

START_TEST(a_new_one_that_takes_nothing_is_given_up_for_another) {
        int status, old, stopped;
        struct side s;
        pid_t pid;

        begin(&s);
        pid = made_keeper(&s);
        ck_assert_int_eq(try_open(&s), 0);
        memory_set_keeper(s.memory, another_keeper, &s);
        old = s.keeper;
        stopped = change_keeper(&s);
        s.keeper = old; /* another_keeper() closes it */
        while (s.made == 0)
                loop_run_once(s.loop, true);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        expect(&s, "FDSTORE=1\nFDNAME=state\n");
        close_fd(stopped);
        end(&s);
}
END_TEST

/* The exec forgets who is to go, and who is in charge. */
START_TEST(an_upgrade_does_not_leave_two_keepers) {
        int status, old;
        struct side s;
        pid_t pid;

        begin(&s);
        pid = made_keeper(&s);
        ck_assert_int_eq(try_open(&s), 0);
        old = s.keeper;
        s.keeper = change_keeper(&s);
        memory_say_executing(s.memory);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        close_fd(expect_fd(&s, "BROKER=1"));
        close_fd(expect_fd(&s, "CHARGE=1"));
        close_fd(expect_fd(&s, "EXECUTABLE=1"));
        expect(&s, "FDSTORE=1\nFDNAME=state\n");
        expect(&s, "BARRIER=1\n");
        expect(&s, "SOLE=1");
        expect(&s, "BARRIER=2\n");
        expect(&s, "EXECUTING=1");
        close_fd(old);
        end(&s);
}
END_TEST

SUITE("memory", {
        TEST(records_and_descriptors_come_back_together);
        TEST(what_nobody_takes_is_dropped_from_the_store_too);
        TEST(a_record_is_removed_by_its_own_id);
        TEST(a_record_without_its_descriptor_loads);
        TEST(a_replaced_descriptor_is_never_missing_at_the_keeper);
        tcase_add_loop_test(tests_, with_the_document_lost_descriptors_are_claimed_by_what_they_are,
                            0, sizeof(damages) / sizeof(damages[0]));
        TEST(names_of_others_stay_what_they_are);
        TEST(a_new_keeper_gets_everything_and_then_the_barrier);
        TEST(a_new_keeper_hears_that_we_are_about_to_end);
        TEST(keepers_that_end_at_once_are_started_at_intervals);
        TEST(a_keeper_from_outside_is_not_replaced);
        TEST(in_place_of_a_new_one_that_dies_before_it_has_everything_comes_another);
        TEST(a_new_one_that_takes_nothing_is_given_up_for_another);
        TEST(an_upgrade_does_not_leave_two_keepers);
        TEST(in_place_of_a_dead_keeper_a_new_one_is_in_charge_at_once);
        tcase_add_loop_test(tests_, one_that_a_broker_made_is_ended_when_the_next_has_everything, 0,
                            2);
})
