/* Leases: one a process and listener, ended by the process's end and by nothing else of its own. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/loop.h"
#include "core/process.h"
#include "sockets/lease.h"
#include "sockets/listener.h"
#include "sockets/listener_table.h"
#include "support.h"

/* Listeners without sockets: leases do not look at them. */
struct world {
        struct loop *loop;
        struct listener_table *table;
        struct holder_table *holders;
        struct listener *a, *b;
};

static struct listener *make_listener(struct listener_table *table, const char *name) {
        struct socket_config config = {
                .name = (char *) name, .file = (char *) "test.conf", .fd_name = (char *) name};
        struct socket_config *copy;
        struct listener *listener;

        ck_assert_int_eq(socket_config_copy(&config, &copy), 0);
        listener = listener_new(table, copy);
        ck_assert_ptr_nonnull(listener);
        return listener;
}

static struct world world_new(void) {
        struct world w;

        ck_assert_int_eq(loop_new(&w.loop), 0);
        ck_assert_int_eq(listener_table_new(&w.table, w.loop, NULL, 100), 0);
        w.holders = listener_table_holders(w.table);
        w.a = make_listener(w.table, "a");
        w.b = make_listener(w.table, "b");
        return w;
}

static void world_free(struct world *w) {
        listener_free(w->a);
        listener_free(w->b);
        listener_table_free(w->table);
        loop_free(w->loop);
}

/* A process that lives until it is killed. */
struct process {
        pid_t pid;
        int life; /* read end of a pipe that ends with the process */
};

static struct process make_process(void) {
        struct process p;
        int fds[2];

        ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
        p.life = fds[0];
        p.pid = fork();
        ck_assert_int_ge(p.pid, 0);
        if (p.pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                for (;;)
                        pause();
        }
        close(fds[1]);
        return p;
}

static void end_process(struct process *p) {
        ck_assert_int_eq(kill(p->pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(p->pid, NULL, 0), p->pid);
        p->life = close_fd(p->life);
}

/* Where there are no pidfds (under valgrind) something that becomes readable in the same moment. */
static int open_process(const struct process *p) {
        int fd = process_open(p->pid);

        if (fd == -ENOSYS)
                fd = fcntl(p->life, F_DUPFD_CLOEXEC, 3);
        ck_assert_int_ge(fd, 0);
        return fd;
}

static struct holder *get(struct world *w, const struct process *p, uid_t uid) {
        struct holder *holder;

        ck_assert_int_eq(holder_get(w->holders, open_process(p), p->pid, uid, uid, &holder), 0);
        return holder;
}

static struct lease *begin(struct holder *holder, struct listener *listener) {
        struct lease *lease;

        ck_assert_int_eq(lease_begin(holder, listener, LEASE_ACQUIRE, 0, &lease), 0);
        return lease;
}

START_TEST(acquiring_again_is_the_same_lease) {
        struct world w = world_new();
        struct process p = make_process();
        struct holder *holder = get(&w, &p, 7), *again = get(&w, &p, 7);
        struct lease *lease = begin(holder, w.a);

        ck_assert_ptr_eq(holder, again);
        ck_assert_uint_eq(holder->references, 2);
        ck_assert_ptr_eq(begin(again, w.a), lease);
        ck_assert_ptr_eq(lease_find(holder, w.a), lease);
        ck_assert_ptr_null(lease_find(holder, w.b));
        ck_assert_uint_eq(w.a->n_leases, 1);
        ck_assert_uint_eq(holder_table_leases_of(w.holders, 7), 1);
        holder_put(again);
        holder_put(holder);
        ck_assert_uint_eq(w.a->n_leases, 1);
        end_process(&p);
        world_free(&w);
}
END_TEST

START_TEST(leases_end_when_the_process_ends) {
        struct world w = world_new();
        struct process p = make_process(), other = make_process();
        struct holder *holder = get(&w, &p, 7), *living = get(&w, &other, 8);

        begin(holder, w.a);
        begin(holder, w.b);
        begin(living, w.b);
        holder_put(holder);
        holder_put(living);
        loop_run_once(w.loop, false);
        ck_assert_uint_eq(w.a->n_leases, 1);

        end_process(&p);
        loop_run_once(w.loop, true);
        ck_assert_uint_eq(w.a->n_leases, 0);
        ck_assert_uint_eq(w.b->n_leases, 1);
        ck_assert_uint_eq(holder_table_leases_of(w.holders, 7), 0);
        ck_assert_uint_eq(holder_table_leases_of(w.holders, 8), 1);
        end_process(&other);
        world_free(&w);
}
END_TEST

/* A session outlives its process when a child has it. */
START_TEST(a_holder_lives_as_long_as_its_session) {
        struct world w = world_new();
        struct process p = make_process();
        struct holder *holder = get(&w, &p, 7);

        begin(holder, w.a);
        end_process(&p);
        loop_run_once(w.loop, true);
        ck_assert_uint_eq(holder->n_leases, 0);
        ck_assert_uint_eq(holder->references, 1);
        /* what it still asks for ends at once */
        begin(holder, w.a);
        loop_run_once(w.loop, true);
        ck_assert_uint_eq(w.a->n_leases, 0);
        holder_put(holder);
        world_free(&w);
}
END_TEST

START_TEST(giving_back_ends_a_lease_and_the_holder) {
        struct world w = world_new();
        struct process p = make_process();
        struct holder *holder = get(&w, &p, 7);
        unsigned fds = test_open_fds();

        lease_end(begin(holder, w.a));
        ck_assert_uint_eq(w.a->n_leases, 0);
        ck_assert_uint_eq(holder->references, 1);
        begin(holder, w.b);
        holder_put(holder);
        ck_assert_uint_eq(test_open_fds(), fds);
        lease_end(LIST_FIRST(&w.b->leases));
        ck_assert_uint_eq(test_open_fds(), fds - 1);
        end_process(&p);
        world_free(&w);
}
END_TEST

START_TEST(a_user_has_as_many_leases_as_it_may) {
        struct world w = world_new();
        struct process p = make_process(), other = make_process();
        struct holder *holder = get(&w, &p, 7), *second = get(&w, &other, 7);
        struct lease *lease = NULL;

        ck_assert_int_eq(lease_begin(holder, w.a, LEASE_ACQUIRE, 2, &lease), 0);
        ck_assert_int_eq(lease_begin(second, w.a, LEASE_ACQUIRE, 2, &lease), 0);
        ck_assert_int_eq(lease_begin(second, w.b, LEASE_ACQUIRE, 2, &lease), -EDQUOT);
        /* one that it has is no new one */
        ck_assert_int_eq(lease_begin(second, w.a, LEASE_ACQUIRE, 2, &lease), 0);
        lease_end(lease_find(holder, w.a));
        ck_assert_int_eq(lease_begin(second, w.b, LEASE_ACQUIRE, 2, &lease), 0);
        holder_put(holder);
        holder_put(second);
        end_process(&p);
        end_process(&other);
        world_free(&w);
}
END_TEST

/* The loop did not run between the end of the one and the coming of the other. */
START_TEST(a_used_pid_is_another_holder) {
        struct world w = world_new();
        struct process p = make_process(), other = make_process();
        struct holder *holder = get(&w, &p, 7), *second;
        int pidfd = open_process(&other);

        begin(holder, w.a);
        end_process(&p);
        /* as if the kernel had given the number again */
        ck_assert_int_eq(holder_get(w.holders, pidfd, p.pid, 8, 8, &second), 0);
        ck_assert_ptr_ne(second, holder);
        ck_assert_uint_eq(w.a->n_leases, 0);
        ck_assert_uint_eq(holder->n_leases, 0);
        begin(second, w.a);
        holder_put(holder);
        holder_put(second);
        ck_assert_uint_eq(w.a->n_leases, 1);
        end_process(&other);
        world_free(&w);
}
END_TEST

START_TEST(a_process_without_a_pid_here_is_known_by_its_pidfd) {
        struct world w = world_new();
        struct process p = make_process();
        struct holder *one, *two;

        ck_assert_int_eq(holder_get(w.holders, open_process(&p), 0, 7, 7, &one), 0);
        ck_assert_int_eq(holder_get(w.holders, open_process(&p), 0, 7, 7, &two), 0);
        if (one->pidfd_inode != 0) /* Linux 6.9 */
                ck_assert_ptr_eq(one, two);
        begin(one, w.a);
        begin(two, w.a);
        holder_put(one);
        holder_put(two);
        end_process(&p);
        while (w.a->n_leases > 0)
                loop_run_once(w.loop, true);
        world_free(&w);
}
END_TEST

START_TEST(a_bad_pidfd_is_refused) {
        struct world w = world_new();
        struct holder *holder;

        ck_assert_int_eq(holder_get(w.holders, -1, 0, 7, 7, &holder), -EBADF);
        world_free(&w);
}
END_TEST

START_TEST(leases_move_to_who_has_the_sockets_now) {
        struct world w = world_new();
        struct process p = make_process(), other = make_process();
        struct holder *both = get(&w, &p, 7), *one = get(&w, &other, 7);
        struct lease *moved;

        begin(both, w.a)->since_usec = 5;
        begin(both, w.b)->since_usec = 9;
        moved = begin(one, w.a);
        lease_move_all(w.a, w.b);
        ck_assert_uint_eq(w.a->n_leases, 0);
        ck_assert_uint_eq(w.b->n_leases, 2);
        ck_assert_ptr_eq(lease_find(one, w.b), moved);
        ck_assert_uint_eq(lease_find(both, w.b)->since_usec, 5);
        ck_assert_uint_eq(holder_table_leases_of(w.holders, 7), 2);
        holder_put(both);
        holder_put(one);
        end_process(&p);
        end_process(&other);
        world_free(&w);
}
END_TEST

/* broker_free() with sessions open: control gives its references back first or last. */
START_TEST(holders_with_a_session_survive_the_table) {
        struct world w = world_new();
        struct process p = make_process();
        struct holder *holder = get(&w, &p, 7);

        begin(holder, w.a);
        world_free(&w);
        holder_put(holder);
        end_process(&p);
}
END_TEST

SUITE("lease", {
        TEST(acquiring_again_is_the_same_lease);
        TEST(leases_end_when_the_process_ends);
        TEST(a_holder_lives_as_long_as_its_session);
        TEST(giving_back_ends_a_lease_and_the_holder);
        TEST(a_user_has_as_many_leases_as_it_may);
        TEST(a_used_pid_is_another_holder);
        TEST(a_process_without_a_pid_here_is_known_by_its_pidfd);
        TEST(a_bad_pidfd_is_refused);
        TEST(leases_move_to_who_has_the_sockets_now);
        TEST(holders_with_a_session_survive_the_table);
})
