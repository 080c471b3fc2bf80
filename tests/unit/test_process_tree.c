/* A process and all that it forked: its end is told once, and what is killed is all of it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "component_support.h"
#include "components/cgroup.h"
#include "components/process_end.h"
#include "components/process_tree_private.h"
#include "core/process.h"
#include "support.h"
#include "tree_life.h"

static struct tree_life life;

START_TEST(how_it_ended_is_told) {
        static const struct {
                const char *script, *text;
                enum process_end end;
        } cases[] = {
                {"exit 0", "exited with status 0", PROCESS_EXITED},
                {"exit 3", "exited with status 3", PROCESS_EXITED},
                {"kill -9 $$", "killed by SIGKILL", PROCESS_KILLED},
                {"kill -40 $$", "killed by signal 40", PROCESS_KILLED},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                if (!tree_life_open(&life, _i))
                        return;
                tree_life_run(&life, cases[i].script);
                tree_life_until_end(&life);
                ck_assert_str_eq(tree_life_end_text(&life), cases[i].text);
                ck_assert_int_eq(life.tree.end, cases[i].end);
                tree_life_told_once(&life);
                ck_assert_int_eq(process_tree_signal_all(&life.tree, SIGTERM), -ESRCH);
                ck_assert_int_eq(process_tree_signal_main(&life.tree, SIGTERM), -ESRCH);
                tree_life_close(&life);
                ck_assert_int_lt(waitpid(-1, NULL, WNOHANG), 0); /* no zombie is left */
        }
}
END_TEST

START_TEST(the_end_of_the_main_process_is_not_that_of_all) {
        pid_t child;

        if (!tree_life_open(&life, _i))
                return;
        tree_life_run(&life, "sleep 1000 & echo $!; exit 5");
        child = tree_life_next_pid(&life);
        while (life.main_ends == 0)
                loop_run_once(life.loop, true);
        ck_assert_str_eq(tree_life_end_text(&life), "exited with status 5");
        ck_assert(process_tree_has(&life.tree, child));
        loop_run_once(life.loop, false);
        ck_assert_int_eq(life.ends, 0);
        ck_assert_int_eq(process_tree_signal_all(&life.tree, SIGTERM), 0);
        tree_life_until_end(&life);
        tree_life_told_once(&life);
        ck_assert(!process_tree_has(&life.tree, child));
        tree_life_close(&life);
}
END_TEST

/*
 * A main process and one that left its session, whose parent has ended: the latter's pidfd. Both
 * are there when this returns.
 */
static int run_with_one_away(pid_t *ret_away) {
        int pidfd;

        tree_life_run(&life, "setsid sh -c 'sleep 1000 & echo $!; exit' </dev/null & wait; echo "
                             "$$; exec sleep 1000");
        *ret_away = tree_life_next_pid(&life);
        pidfd = process_open(*ret_away);
        (void) tree_life_next_pid(&life);
        return pidfd;
}

START_TEST(what_forks_away_is_killed_with_its_cgroup) {
        pid_t away;
        int pidfd;

        if (!tree_life_open(&life, WITH_CGROUP))
                return;
        pidfd = run_with_one_away(&away);
        ck_assert(process_tree_has(&life.tree, away));
        process_tree_kill(&life.tree);
        tree_life_until_end(&life);
        tree_life_until_dead(pidfd);
        tree_life_told_once(&life);
        close(pidfd);
        tree_life_close(&life);
}
END_TEST

START_TEST(what_leaves_its_session_is_not_in_the_process_group) {
        pid_t away;
        int pidfd;

        if (!tree_life_open(&life, WITH_GROUP))
                return;
        pidfd = run_with_one_away(&away);
        ck_assert(!process_tree_has(&life.tree, away));
        process_tree_kill(&life.tree);
        tree_life_until_end(&life);
        ck_assert_int_eq(process_has_ended(pidfd), 0);
        ck_assert_int_eq(pidfd_send_signal(pidfd, SIGKILL, NULL, 0), 0);
        tree_life_until_dead(pidfd);
        close(pidfd);
        tree_life_close(&life);
}
END_TEST

/* Forks until `most` were made, however many of them are killed meanwhile. */
static void bomb(atomic_int *made, int most) {
        while (atomic_fetch_add(made, 1) < most)
                (void) !fork();
        for (;;)
                pause();
}

static void start_bomb(atomic_int *made, int most) {
        struct clone_args args = {.flags = CLONE_PIDFD | CLONE_INTO_CGROUP, .exit_signal = SIGCHLD};
        int pidfd = -1;
        pid_t pid;

        ck_assert_int_eq(process_tree_prepare(&life.tree, &life.root, life.loop, NULL,
                                              "fdpass-unit-bomb-1-0"),
                         0);
        args.pidfd = (uint64_t) (uintptr_t) &pidfd;
        args.cgroup = (uint64_t) life.tree.cgroup_fd;
        pid = (pid_t) syscall(SYS_clone3, &args, sizeof(args));
        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                bomb(made, most);
        process_tree_start(&life.tree, pid, pidfd, tree_life_on_main_end, tree_life_on_end, &life);
}

START_TEST(a_fork_bomb_is_killed) {
        atomic_int *made =
                mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (!tree_life_open(&life, WITH_CGROUP))
                return;
        start_bomb(made, 400);
        while (atomic_load(made) < 50)
                ;
        if (_i == 0)
                process_tree_kill(&life.tree);
        else
                process_tree_kill_in_rounds(&life.tree);
        tree_life_until_end(&life);
        tree_life_told_once(&life);
        ck_assert(!cgroup_is_populated(life.tree.events_fd));
        tree_life_close(&life);
        munmap(made, 4096);
}
END_TEST

START_TEST(rounds_alone_kill_what_forks_in_between) {
        atomic_int *made =
                mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (!tree_life_open(&life, WITH_CGROUP))
                return;
        start_bomb(made, 200);
        while (atomic_load(made) < 20)
                ;
        /* without the freezer, and with the rounds that come from the loop alone */
        life.tree.killing = true;
        (void) process_tree_signal_main(&life.tree, SIGKILL);
        tree_life_until_end(&life);
        tree_life_told_once(&life);
        tree_life_close(&life);
        munmap(made, 4096);
}
END_TEST

/* A mount in the way of cgroup.kill, which is then as if the kernel had none. */
static void hide_cgroup_kill(char target[4096 + 16]) {
        char own[64], folder[4096];
        ssize_t n;

        (void) snprintf(own, sizeof(own), "/proc/self/fd/%d", life.tree.cgroup_fd);
        n = readlink(own, folder, sizeof(folder) - 1);
        ck_assert_int_gt(n, 0);
        folder[n] = '\0';
        (void) snprintf(target, 4096 + 16, "%s/cgroup.kill", folder);
        ck_assert_int_eq(mount("/dev/full", target, NULL, MS_BIND, NULL), 0);
        /* only who comes by the folder of this mount namespace meets it */
        close(life.tree.cgroup_fd);
        life.tree.cgroup_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_lt(cgroup_kill(life.tree.cgroup_fd), 0);
}

START_TEST(without_cgroup_kill_all_are_killed_one_by_one) {
        char target[4096 + 16];
        pid_t away;
        int pidfd;

        SKIP_UNLESS(geteuid() == 0 && unshare(CLONE_NEWNS) == 0, "mounting takes root");
        ck_assert_int_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
        if (!tree_life_open(&life, WITH_CGROUP))
                return;
        pidfd = run_with_one_away(&away);
        hide_cgroup_kill(target);
        process_tree_kill(&life.tree);
        tree_life_until_end(&life);
        tree_life_until_dead(pidfd); /* which is in no session of the main process, nor its child */
        tree_life_told_once(&life);
        ck_assert_str_eq(tree_life_end_text(&life), "killed by SIGKILL");
        close(pidfd);
        ck_assert_int_eq(umount2(target, MNT_DETACH), 0);
        tree_life_close(&life);
}
END_TEST

START_TEST(a_stopped_process_gets_its_signal) {
        pid_t child;

        for (int all = 0; all < 2; all++) {
                struct process_stat stat = {0};

                if (!tree_life_open(&life, _i))
                        return;
                tree_life_run(&life, "echo $$; kill -STOP $$; exit 9");
                child = tree_life_next_pid(&life);
                while (process_stat_read(child, &stat) == 0 && stat.state != 'T')
                        loop_run_once(life.loop, false);
                if (all)
                        ck_assert_int_eq(process_tree_signal_all(&life.tree, SIGTERM), 0);
                else
                        ck_assert_int_eq(process_tree_signal_main(&life.tree, SIGTERM), 0);
                tree_life_until_end(&life);
                ck_assert_str_eq(tree_life_end_text(&life), "killed by SIGTERM");
                tree_life_close(&life);
        }
}
END_TEST

START_TEST(zombies_that_nobody_collects_do_not_keep_a_group) {
        if (!tree_life_open(&life, WITH_GROUP))
                return;
        /* as a container's first process that collects nobody */
        ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
        tree_life_run(&life, "sleep 1000 & echo $!");
        (void) tree_life_next_pid(&life);
        while (life.main_ends == 0)
                loop_run_once(life.loop, true);
        process_tree_kill(&life.tree);
        tree_life_until_end(&life);
        tree_life_told_once(&life);
        tree_life_close(&life);
}
END_TEST

START_TEST(another_process_of_the_tree_becomes_the_main_one) {
        pid_t child, stranger = fork();

        if (stranger == 0)
                for (;;)
                        pause();
        if (!tree_life_open(&life, _i))
                goto out;
        tree_life_run(&life, "sleep 1000 & echo $!; sleep 1000 & echo $!; kill -STOP $$");
        child = tree_life_next_pid(&life);
        int sibling = process_open(tree_life_next_pid(&life));
        ck_assert_int_eq(process_tree_set_main(&life.tree, stranger), -EPERM);
        ck_assert_int_eq(process_tree_set_main(&life.tree, 0), -ESRCH);
        ck_assert_int_eq(process_tree_set_main(&life.tree, life.tree.pid), 0);
        ck_assert_int_eq(process_tree_set_main(&life.tree, child), 0);
        ck_assert_int_eq(life.tree.pid, child);
        /* its parent, which led the group, ends: that is no end of anything */
        pid_t leader = life.tree.group;
        int leader_fd = process_open(leader);
        ck_assert_int_eq(kill(leader, SIGKILL), 0);
        tree_life_until_dead(leader_fd);
        close(leader_fd);
        loop_run_once(life.loop, false);
        loop_run_once(life.loop, false);
        ck_assert_int_eq(life.main_ends, 0);
        ck_assert(process_tree_has(&life.tree, child));
        ck_assert_int_eq(process_tree_signal_all(&life.tree, SIGTERM), 0);
        tree_life_until_dead(sibling); /* by the group, which the new main process does not lead */
        close(sibling);
        tree_life_until_end(&life);
        tree_life_told_once(&life);
        tree_life_close(&life);
out:
        (void) kill(stranger, SIGKILL);
        (void) waitpid(stranger, NULL, 0);
}
END_TEST

SUITE("process_tree", {
        TEST_BOTH(how_it_ended_is_told);
        TEST_BOTH(the_end_of_the_main_process_is_not_that_of_all);
        TEST(what_forks_away_is_killed_with_its_cgroup);
        TEST(what_leaves_its_session_is_not_in_the_process_group);
        tcase_add_loop_test(tests_, a_fork_bomb_is_killed, 0, 2);
        TEST(rounds_alone_kill_what_forks_in_between);
        TEST(without_cgroup_kill_all_are_killed_one_by_one);
        TEST_BOTH(a_stopped_process_gets_its_signal);
        TEST(zombies_that_nobody_collects_do_not_keep_a_group);
        TEST_BOTH(another_process_of_the_tree_becomes_the_main_one);
})
