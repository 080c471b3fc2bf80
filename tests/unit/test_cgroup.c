/* Where cgroups are, that each has a name of its own, and what brokers left that are no more. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "component_support.h"
#include "components/cgroup.h"
#include "core/log.h"
#include "core/process.h"
#include "support.h"
#include "tree_life.h"

static struct tree_life life;

struct lines {
        int count;
        enum log_level level;
        char last[1024];
};

static void on_line(void *owner, enum log_level level, const char *text) {
        struct lines *l = owner;

        l->count++;
        l->level = level;
        (void) snprintf(l->last, sizeof(l->last), "%s", text);
}

static void open_root(struct lines *lines) {
        struct cgroup_root root;
        struct log *log;

        memset(lines, 0, sizeof(*lines));
        ck_assert_int_eq(log_new(&log, "test", LOG_TARGET_NONE, LEVEL_INFO), 0);
        log_set_sink(log, on_line, lines);
        cgroup_root_open(&root, log);
        cgroup_root_close(&root);
        log_free(log);
        ck_assert_int_eq(lines->count, 1);
}

START_TEST(where_no_cgroup_can_be_made_one_line_says_so) {
        struct cgroup_root root;
        struct lines lines;
        char folder[4096], own[64];
        ssize_t n;

        cgroup_root_open(&root, NULL);
        if (root.fd < 0) {
                open_root(&lines);
                ck_assert_int_eq(lines.level, LEVEL_NOTICE);
                return;
        }
        (void) snprintf(own, sizeof(own), "/proc/self/fd/%d", root.fd);
        n = readlink(own, folder, sizeof(folder) - 1);
        ck_assert_int_gt(n, 0);
        folder[n] = '\0';
        cgroup_root_close(&root);
        open_root(&lines);
        ck_assert_ptr_nonnull(strstr(lines.last, "cgroups of their own below /"));
        SKIP_UNLESS(geteuid() == 0 && unshare(CLONE_NEWNS) == 0, "mounting takes root");
        ck_assert_int_eq(mount(NULL, "/", "", MS_REC | MS_PRIVATE, NULL), 0);
        if (mount(NULL, folder, "", MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0) {
                open_root(&lines);
                ck_assert_ptr_nonnull(strstr(lines.last, "process groups"));
                ck_assert_ptr_nonnull(strstr(lines.last, "Read-only"));
        }
        if (umount2(folder, MNT_DETACH) == 0) {
                open_root(&lines);
                ck_assert_ptr_nonnull(strstr(lines.last, "no cgroup v2 is mounted"));
                ck_assert_int_eq(lines.level, LEVEL_NOTICE);
        }
}
END_TEST

START_TEST(cgroups_of_one_name_are_two) {
        char first[CGROUP_NAME_SIZE], second[CGROUP_NAME_SIZE], third[CGROUP_NAME_SIZE];
        int fd[2], none;

        if (!tree_life_open(&life, WITH_CGROUP))
                return;
        ck_assert_int_eq(cgroup_make(&life.root, "fdpass-unit-same-1-0", first, &fd[0]), 0);
        ck_assert_int_eq(cgroup_make(&life.root, "fdpass-unit-same-1-0", second, &fd[1]), 0);
        ck_assert_str_ne(first, second);
        ck_assert_int_eq(cgroup_make(&life.root, "a/b", third, &none), -ENAMETOOLONG);
        /* what a program made below its own goes with it */
        ck_assert_int_eq(mkdirat(fd[0], "inner", 0755), 0);
        ck_assert_int_eq(mkdirat(fd[0], "inner/most", 0755), 0);
        cgroup_remove(&life.root, first);
        cgroup_remove(&life.root, second);
        ck_assert_int_eq(faccessat(life.root.fd, first, F_OK, 0), -1);
        ck_assert_int_eq(faccessat(life.root.fd, second, F_OK, 0), -1);
        close(fd[0]);
        close(fd[1]);
        tree_life_close(&life);
}
END_TEST

/* ---- what brokers left that are no more ------------------------------------------------------*/

static const struct {
        const char *before, *after;
        time_t age;
        bool stays;
} places[] = {
        {"fdpass-unit-stale", "-1-0", 3600, false},
        {"fdpass-unit-stale", "-1-0.2", 90, false},
        {"fdpass-unit-fresh", "-1-0", 5, true},    /* somebody may be about to enter it */
        {"unit-fdpass-stale", "-1-0", 3600, true}, /* whose is it? not ours */
};
#define N_PLACES (sizeof(places) / sizeof(*places))

/* Another run of this test has others. */
static const char *place(size_t k) {
        static char name[CGROUP_NAME_SIZE];

        (void) snprintf(name, sizeof(name), "%s%d%s", places[k].before, (int) getpid(),
                        places[k].after);
        return name;
}

static void set_age(const char *name, time_t age) {
        struct timespec times[2] = {{.tv_sec = time(NULL) - age}, {.tv_sec = time(NULL) - age}};

        ck_assert_int_eq(utimensat(life.root.fd, name, times, 0), 0);
}

START_TEST(empty_cgroups_of_a_former_life_are_removed) {
        bool was_there[N_PLACES], is_used, some_stay;

        if (!tree_life_open(&life, WITH_CGROUP))
                return;
        tree_life_run(&life, "sleep 1000");
        set_age(life.tree.cgroup, 3600); /* and in use */
        for (size_t k = 0; k < N_PLACES; k++) {
                ck_assert_int_eq(mkdirat(life.root.fd, place(k), 0755), 0);
                set_age(place(k), places[k].age);
        }
        some_stay = cgroup_remove_stale(&life.root);
        for (size_t k = 0; k < N_PLACES; k++)
                was_there[k] = unlinkat(life.root.fd, place(k), AT_REMOVEDIR) == 0;
        is_used = faccessat(life.root.fd, life.tree.cgroup, F_OK, 0) == 0 &&
                  process_has_ended(life.tree.pidfd) == 0;
        process_tree_kill(&life.tree);
        tree_life_until_end(&life);
        for (size_t k = 0; k < N_PLACES; k++)
                ck_assert_msg(was_there[k] == places[k].stays, "%s", place(k));
        ck_assert(is_used);
        ck_assert(some_stay);
        tree_life_close(&life);
}
END_TEST

static void make_below(const char *name, const char *below) {
        char path[2 * CGROUP_NAME_SIZE];

        (void) snprintf(path, sizeof(path), "%s/%s", name, below);
        ck_assert_int_eq(mkdirat(life.root.fd, path, 0755), 0);
        set_age(path, 3600);
        set_age(name, 3600);
}

static bool is_there(const char *name, const char *below) {
        char path[2 * CGROUP_NAME_SIZE];

        (void) snprintf(path, sizeof(path), "%s/%s", name, below);
        return faccessat(life.root.fd, path, F_OK, 0) == 0;
}

START_TEST(what_a_program_made_below_its_own_goes_with_it_when_all_is_empty) {
        bool is_left, lives;

        if (!tree_life_open(&life, WITH_CGROUP))
                return;
        tree_life_run(&life, "sleep 1000");
        close_fd(life.tree.cgroup_fd); /* as of a broker that locks nothing */
        life.tree.cgroup_fd = openat(life.root.fd, life.tree.cgroup, O_RDONLY | O_CLOEXEC);
        make_below(life.tree.cgroup, "inner");
        ck_assert_int_eq(mkdirat(life.root.fd, place(0), 0755), 0);
        make_below(place(0), "inner");
        make_below(place(0), "inner/most");
        (void) cgroup_remove_stale(&life.root);
        is_left = is_there(place(0), ".");
        lives = is_there(life.tree.cgroup, "inner");
        cgroup_remove(&life.root, place(0));
        process_tree_kill(&life.tree);
        tree_life_until_end(&life);
        ck_assert(!is_left);
        ck_assert(lives);
        tree_life_close(&life);
}
END_TEST

/* Empty between two commands: how long ago it was made says nothing. */
START_TEST(a_living_broker_keeps_its_own_though_they_are_empty) {
        char made[CGROUP_NAME_SIZE];
        int fd, again;

        if (!tree_life_open(&life, WITH_CGROUP))
                return;
        ck_assert_int_eq(cgroup_make(&life.root, place(0), made, &fd), 0);
        set_age(made, 3600);
        (void) cgroup_remove_stale(&life.root);
        ck_assert(is_there(made, "."));
        ck_assert_int_eq(cgroup_open(&life.root, made, cgroup_inode(fd) + 1), -ESTALE);
        cgroup_remove_unheld(&life.root, made);
        ck_assert(is_there(made, "."));
        again = cgroup_open(&life.root, made, cgroup_inode(fd)); /* by the next broker */
        ck_assert_int_ge(again, 0);
        close(fd);
        (void) cgroup_remove_stale(&life.root);
        ck_assert(is_there(made, "."));
        close(again);
        (void) cgroup_remove_stale(&life.root);
        ck_assert(!is_there(made, "."));
        tree_life_close(&life);
}
END_TEST

/* What another broker does between our making of one and its lock; -1 or the folder that it has. */
static int (*meanwhile)(void);
static int taken_fd;

int flock(int fd, int operation) {
        int (*now)(void) = meanwhile;

        meanwhile = NULL;
        if (now)
                taken_fd = now();
        return (int) syscall(SYS_flock, fd, operation);
}

static int remove_it(void) {
        cgroup_remove_unheld(&life.root, place(0));
        return -1;
}

static int look_at_it(void) {
        int fd = openat(life.root.fd, place(0), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
        return fd;
}

static int make_it_anew(void) {
        char made[CGROUP_NAME_SIZE];
        int fd;

        cgroup_remove_unheld(&life.root, place(0));
        ck_assert_int_eq(cgroup_make(&life.root, place(0), made, &fd), 0);
        ck_assert_str_eq(made, place(0));
        return fd;
}

START_TEST(nobody_is_given_one_that_is_being_removed) {
        static int (*const all[])(void) = {remove_it, look_at_it, make_it_anew};
        char made[CGROUP_NAME_SIZE];
        struct stat st;
        int fd;

        if (!tree_life_open(&life, WITH_CGROUP))
                return;
        meanwhile = all[_i];
        ck_assert_int_eq(cgroup_make(&life.root, place(0), made, &fd), 0);
        ck_assert_str_ne(made, place(0));
        ck_assert_int_eq(fstatat(life.root.fd, made, &st, 0), 0);
        ck_assert_uint_eq(st.st_ino, cgroup_inode(fd));
        ck_assert_int_eq(flock(fd, LOCK_SH | LOCK_NB), 0);
        close_fd(taken_fd);
        close(fd);
        cgroup_remove(&life.root, made);
        cgroup_remove(&life.root, place(0));
        tree_life_close(&life);
}
END_TEST

/* A process in the cgroup, that has nothing of ours open. */
static pid_t enter(int cgroup_fd) {
        int fd = openat(cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC), ready[2];
        char byte;
        pid_t pid;

        ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (write(fd, "0", 1) != 1 || dup2(ready[1], STDOUT_FILENO) < 0)
                        _exit(1);
                (void) close_range(STDERR_FILENO + 1, ~0U, 0);
                (void) !write(STDOUT_FILENO, "x", 1);
                for (;;)
                        pause();
        }
        close(ready[1]);
        ck_assert_int_eq(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        close(fd);
        return pid;
}

/* The last is a component's: its name may look so. Who was killed ends by no other signal. */
START_TEST(what_is_left_of_a_health_command_ends_when_its_broker_is_gone) {
        static const struct {
                const char *kind;
                bool is_held;
                int end;
        } of[3] = {{PLACE_OF_HEALTH, true, SIGUSR1},
                   {PLACE_OF_HEALTH, false, SIGKILL},
                   {".health", false, SIGUSR1}};
        char name[CGROUP_NAME_SIZE], made[3][CGROUP_NAME_SIZE];
        struct cgroup_root root = {.fd = -1};
        int fds[3], status[3];
        bool can_kill, looks_again[2];
        pid_t pids[3];

        if (!tree_life_open(&life, WITH_CGROUP))
                return;
        (void) snprintf(name, sizeof(name), "unit-root%d", (int) getpid());
        ck_assert_int_eq(mkdirat(life.root.fd, name, 0755), 0);
        root.fd = openat(life.root.fd, name, O_RDONLY | O_CLOEXEC);
        for (int k = 0; k < 3; k++) {
                char place[CGROUP_NAME_SIZE];

                (void) snprintf(place, sizeof(place), PLACE_PREFIX "%d%s-1-1", k, of[k].kind);
                ck_assert_int_eq(cgroup_make(&root, place, made[k], &fds[k]), 0);
                pids[k] = enter(fds[k]);
                if (!of[k].is_held)
                        fds[k] = close_fd(fds[k]);
        }
        can_kill = faccessat(fds[0], "cgroup.kill", F_OK, 0) == 0;
        looks_again[0] = cgroup_remove_stale(&root);
        for (int k = 0; k < 3; k++) {
                (void) kill(pids[k], SIGUSR1);
                ck_assert_int_eq(waitpid(pids[k], &status[k], 0), pids[k]);
                cgroup_remove(&root, made[k]);
        }
        looks_again[1] = cgroup_remove_stale(&root);
        close(fds[0]);
        close(root.fd);
        cgroup_remove(&life.root, name);
        for (int k = 0; k < 3; k++)
                ck_assert_int_eq(status[k], can_kill ? of[k].end : SIGUSR1);
        ck_assert(looks_again[0]);
        ck_assert(!looks_again[1]);
        tree_life_close(&life);
}
END_TEST

SUITE("cgroup", {
        TEST(where_no_cgroup_can_be_made_one_line_says_so);
        TEST(cgroups_of_one_name_are_two);
        TEST(empty_cgroups_of_a_former_life_are_removed);
        TEST(what_a_program_made_below_its_own_goes_with_it_when_all_is_empty);
        TEST(a_living_broker_keeps_its_own_though_they_are_empty);
        tcase_add_loop_test(tests_, nobody_is_given_one_that_is_being_removed, 0, 3);
        TEST(what_is_left_of_a_health_command_ends_when_its_broker_is_gone);
})
