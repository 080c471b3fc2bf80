/*
 * Processes that a former broker started: their end is known although they are nobody's children of
 * ours, and nobody else is taken for them.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "component_support.h"
#include "components/cgroup.h"
#include "components/process_end.h"
#include "components/process_group.h"
#include "core/process.h"
#include "support.h"
#include "tree_life.h"

static struct tree_life life;

/*
 * A process whose parent is not us: that parent collects it at once, or not before it is told to by
 * the end of `hold`.
 */
static pid_t start_foster(const char *script, int *ret_hold, pid_t *ret_parent) {
        int hold[2], say[2];
        pid_t pid;

        ck_assert_int_eq(pipe2(hold, O_CLOEXEC), 0);
        ck_assert_int_eq(pipe2(say, O_CLOEXEC), 0);
        *ret_parent = fork();
        if (*ret_parent == 0) {
                char c;
                close(hold[1]);
                pid = fork();
                if (pid == 0) {
                        setsid();
                        execl("/bin/sh", "sh", "-c", script, NULL);
                        _exit(127);
                }
                (void) !write(say[1], &pid, sizeof(pid));
                (void) !read(hold[0], &c, 1);
                (void) waitpid(pid, NULL, 0);
                for (;;)
                        pause();
        }
        ck_assert_int_eq(read(say[0], &pid, sizeof(pid)), sizeof(pid));
        close(hold[0]);
        close(say[0]);
        close(say[1]);
        *ret_hold = hold[1];
        return pid;
}

static void end_foster(pid_t parent, int hold) {
        close_fd(hold);
        (void) kill(parent, SIGKILL);
        (void) waitpid(parent, NULL, 0);
}

static uint64_t start_time_of(pid_t pid) {
        struct process_stat stat = {0};

        ck_assert_int_eq(process_stat_read(pid, &stat), 0);
        return stat.start_time;
}

static void until_collected(pid_t pid) {
        struct process_stat stat;

        while (process_stat_read(pid, &stat) == 0)
                (void) poll(NULL, 0, 1);
}

/* By its version, not by asking as the broker does: that is what is tested. */
static bool kernel_tells_exits(void) {
        struct utsname name;
        char *end;
        long major, minor;

        ck_assert_int_eq(uname(&name), 0);
        major = strtol(name.release, &end, 10);
        minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
        return major > 6 || (major == 6 && minor >= 15);
}

static void adopt_group(pid_t pid, uint64_t start_time, int pidfd) {
        struct process_tree_kept kept = {.pid = pid, .start_time = start_time, .pidfd = pidfd};

        tree_life_adopt(&life, &kept);
}

START_TEST(the_end_of_a_strangers_child_is_known_when_it_is_collected) {
        pid_t pid, parent;
        int hold, pidfd;

        SKIP_UNLESS(kernel_tells_exits(), "PIDFD_INFO_EXIT is of Linux 6.15");
        (void) tree_life_open(&life, WITH_GROUP);
        pid = start_foster("exec sleep 1000", &hold, &parent);
        pidfd = process_open(pid);
        adopt_group(pid, start_time_of(pid), pidfd);
        ck_assert(process_tree_has(&life.tree, pid));
        ck_assert_int_eq(process_tree_signal_main(&life.tree, SIGKILL), 0);
        tree_life_until_dead(pidfd);
        loop_run_once(life.loop, true);
        ck_assert_int_eq(life.main_ends, 0); /* a zombie, of which nothing can be said yet */
        close_fd(hold);
        until_collected(pid); /* it may need longer than that is waited for */
        tree_life_until_end(&life);
        ck_assert_str_eq(tree_life_end_text(&life), "killed by SIGKILL");
        tree_life_told_once(&life);
        tree_life_close(&life);
        end_foster(parent, -1);
}
END_TEST

START_TEST(an_end_that_happened_meanwhile_is_told) {
        pid_t pid, parent;
        int hold, pidfd;

        SKIP_UNLESS(kernel_tells_exits(), "PIDFD_INFO_EXIT is of Linux 6.15");
        (void) tree_life_open(&life, WITH_GROUP);
        pid = start_foster("exit 8", &hold, &parent);
        pidfd = process_open(pid);
        uint64_t start_time = start_time_of(pid);
        close(hold);
        until_collected(pid);
        adopt_group(pid, start_time, pidfd);
        ck_assert_int_eq(life.main_ends, 0); /* from the loop only */
        tree_life_until_end(&life);
        ck_assert_str_eq(tree_life_end_text(&life), "exited with status 8");
        tree_life_told_once(&life);
        tree_life_close(&life);
        end_foster(parent, -1);
}
END_TEST

START_TEST(an_end_that_nobody_collects_is_unknown_in_time) {
        pid_t pid, parent;
        int hold;

        (void) tree_life_open(&life, WITH_GROUP);
        pid = start_foster("exit 8", &hold, &parent);
        adopt_group(pid, start_time_of(pid), process_open(pid));
        tree_life_until_end(&life);
        ck_assert_str_eq(tree_life_end_text(&life), "ended, nobody knows how");
        tree_life_told_once(&life);
        tree_life_close(&life);
        end_foster(parent, hold);
}
END_TEST

/* In a cgroup, with a child that only the cgroup has: what is kept of it, when it has been let go.
 */
static struct process_tree_kept start_and_leave(pid_t *ret_child) {
        struct process_tree_kept kept;

        tree_life_run(&life, "setsid sleep 1000 & echo $!; exec sleep 1000");
        *ret_child = tree_life_next_pid(&life);
        while (getpgid(*ret_child) == life.tree.pid)
                (void) poll(NULL, 0, 1);
        kept = (struct process_tree_kept){.pid = life.tree.pid,
                                          .start_time = life.tree.start_time,
                                          .pidfd = fcntl(life.tree.pidfd, F_DUPFD_CLOEXEC, 3),
                                          .cgroup_inode = life.tree.cgroup_inode};
        strcpy(kept.cgroup, life.tree.cgroup);
        process_tree_clear(&life.tree); /* kills nothing, and leaves a cgroup that is in use */
        ck_assert_int_eq(process_has_ended(kept.pidfd), 0);
        memset(&life.tree, 0, sizeof(life.tree));
        return kept;
}

START_TEST(a_cgroup_is_adopted_with_all_in_it) {
        struct process_tree_kept kept;
        pid_t child;

        if (!tree_life_open(&life, WITH_CGROUP))
                return;
        kept = start_and_leave(&child);
        if (_i)
                kept.cgroup_inode = 0; /* by a version that kept none */
        tree_life_adopt(&life, &kept);
        ck_assert(process_tree_has(&life.tree, child));
        process_tree_kill(&life.tree);
        tree_life_until_end(&life);
        tree_life_told_once(&life);
        process_tree_clear(&life.tree);
        ck_assert_int_eq(faccessat(life.root.fd, kept.cgroup, F_OK, 0), -1);
        tree_life_close(&life);
}
END_TEST

/* A broker died after it had removed its own, and another broker has made one since. */
START_TEST(a_cgroup_that_only_has_the_name_is_left_alone) {
        struct process_tree_kept kept;
        pid_t child;
        int child_fd;

        if (!tree_life_open(&life, WITH_CGROUP))
                return;
        kept = start_and_leave(&child);
        child_fd = process_open(child);
        kept.cgroup_inode++;
        tree_life_adopt(&life, &kept);
        ck_assert(!process_tree_has(&life.tree, child));
        process_tree_kill(&life.tree);
        tree_life_until_end(&life);
        ck_assert_int_eq(process_has_ended(child_fd), 0);
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        tree_life_until_dead(child_fd);
        process_tree_clear(&life.tree);
        ck_assert_int_eq(faccessat(life.root.fd, kept.cgroup, F_OK, 0), 0); /* nor when empty */
        cgroup_remove(&life.root, kept.cgroup);
        close(child_fd);
        tree_life_close(&life);
}
END_TEST

/* ---- a pid that is another's now -------------------------------------------------------------*/

/* A process with a pid of our choice, leading a group; clone3's set_tid asks for privileges. */
static pid_t start_with_pid(pid_t pid) {
        struct clone_args args = {.exit_signal = SIGCHLD, .set_tid_size = 1};
        int said[2];
        char c;
        pid_t r;

        args.set_tid = (uint64_t) (uintptr_t) &pid;
        ck_assert_int_eq(pipe2(said, O_CLOEXEC), 0);
        r = (pid_t) syscall(SYS_clone3, &args, sizeof(args));
        if (r == 0) {
                (void) setsid();
                (void) !write(said[1], "x", 1);
                for (;;)
                        pause();
        }
        close(said[1]);
        if (r > 0)
                ck_assert_int_eq(read(said[0], &c, 1), 1);
        close(said[0]);
        return r;
}

START_TEST(a_stranger_with_the_old_pid_is_not_hurt) {
        pid_t pid = fork(), stranger;
        uint64_t start_time;
        int pidfd;

        if (pid == 0) {
                setsid();
                for (;;)
                        pause();
        }
        pidfd = process_open(pid);
        start_time = start_time_of(pid);
        (void) poll(NULL, 0, 20); /* start times are counted in ticks of 10 ms */
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        stranger = start_with_pid(pid);
        if (stranger != pid) {
                printf("skipped: no process with a given pid: %s\n", strerror(errno));
                close(pidfd);
                return;
        }
        ck_assert_int_eq(process_group_signal(pid, pidfd, start_time, SIGKILL), -ESRCH);
        ck_assert_int_eq(process_group_signal_by_number(pid, pidfd, start_time, SIGKILL), -ESRCH);

        /* adopted by its pidfd, and without it by its number and start time */
        for (int lost = 0; lost < 2; lost++) {
                (void) tree_life_open(&life, WITH_GROUP);
                adopt_group(pid, start_time, lost ? -1 : pidfd);
                ck_assert_int_eq(process_tree_signal_all(&life.tree, SIGKILL), -ESRCH);
                process_tree_kill(&life.tree);
                tree_life_until_end(&life);
                ck_assert(!process_tree_has(&life.tree, pid));
                tree_life_close(&life);
        }
        ck_assert_int_eq(waitpid(stranger, NULL, WNOHANG), 0);
        (void) kill(stranger, SIGKILL);
        ck_assert_int_eq(waitpid(stranger, NULL, 0), stranger);
}
END_TEST

START_TEST(a_group_is_signalled_by_number_where_it_must) {
        if (!tree_life_open(&life, WITH_GROUP))
                return;
        tree_life_run(&life, "sleep 1000 & echo $!; exit");
        pid_t child = tree_life_next_pid(&life);
        int pidfd = process_open(child);
        while (!life.tree.collected)
                loop_run_once(life.loop, true);
        /* its leader is gone, its number nobody's, and it has a member */
        ck_assert_int_eq(process_group_signal_by_number(life.tree.group, life.tree.pidfd,
                                                        life.tree.start_time, SIGTERM),
                         0);
        tree_life_until_dead(pidfd);
        close(pidfd);
        tree_life_until_end(&life);
        tree_life_close(&life);
        ck_assert_int_eq(process_group_signal_by_number(1, 0, 0, 0), -ESRCH);
        ck_assert_int_eq(process_group_signal_by_number(0, 0, 0, 0), -ESRCH);
}
END_TEST

SUITE("process_adopted", {
        TEST(the_end_of_a_strangers_child_is_known_when_it_is_collected);
        TEST(an_end_that_happened_meanwhile_is_told);
        TEST(an_end_that_nobody_collects_is_unknown_in_time);
        tcase_add_loop_test(tests_, a_cgroup_is_adopted_with_all_in_it, 0, 2);
        TEST(a_cgroup_that_only_has_the_name_is_left_alone);
        TEST(a_stranger_with_the_old_pid_is_not_hurt);
        TEST(a_group_is_signalled_by_number_where_it_must);
})
