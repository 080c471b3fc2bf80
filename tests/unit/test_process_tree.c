/* A process and all that it forked: its end is told once, and what is killed is all of it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "component_support.h"
#include "components/cgroup.h"
#include "components/process_end.h"
#include "components/process_group.h"
#include "components/process_tree.h"
#include "components/process_tree_private.h"
#include "core/log.h"
#include "core/process.h"
#include "support.h"

/* Each test of both kinds runs with a cgroup (0) and with a process group (1). */
enum { WITH_CGROUP, WITH_GROUP, N_KINDS };

struct life {
        struct loop *loop;
        struct cgroup_root root;
        struct process_tree tree;
        int main_ends, ends, words[2];
};

static struct life life;

static bool open_life(int kind) {
        memset(&life, 0, sizeof(life));
        ck_assert_int_eq(loop_new(&life.loop), 0);
        ck_assert_int_eq(pipe2(life.words, O_CLOEXEC), 0);
        life.root.fd = -1;
        if (kind == WITH_CGROUP)
                cgroup_root_open(&life.root, NULL);
        if (kind == WITH_CGROUP && life.root.fd < 0)
                printf("skipped: no cgroup v2 that may be written\n");
        return kind == WITH_GROUP || life.root.fd >= 0;
}

static void close_life(void) {
        process_tree_clear(&life.tree);
        process_tree_clear(&life.tree);
        cgroup_root_close(&life.root);
        close(life.words[0]);
        close(life.words[1]);
        loop_free(life.loop);
}

static void on_main_end(void *owner) {
        struct life *l = owner;

        ck_assert_int_eq(l->ends, 0);
        l->main_ends++;
}

static void on_end(void *owner) {
        struct life *l = owner;

        ck_assert_int_eq(l->main_ends, 1);
        l->ends++;
}

static void no_matter(void *owner, enum spawn_step step, int error, const char *what) {
        ck_assert_msg(step == N_SPAWN_STEPS, "%s %s", what, strerror(error));
}

/* A shell that runs the script, with its words going into our pipe. */
static void start(char *script) {
        struct component_config config = component_defaults();
        struct spawn_watch watch = {0};
        struct spawn spawn = {.config = &config,
                              .command = &config.start,
                              .output_fd = life.words[1],
                              .error_fd = life.words[1]};
        int pidfd;
        pid_t pid;

        config.start = SHELL(script);
        ck_assert_int_eq(process_tree_prepare(&life.tree, &life.root, life.loop, NULL,
                                              "fdpass-unit-test-1-0"),
                         0);
        spawn.cgroup_fd = life.tree.cgroup_fd;
        ck_assert_int_eq(spawn_start(&watch, life.loop, &spawn, &pid, &pidfd, no_matter, NULL), 0);
        process_tree_start(&life.tree, pid, pidfd, on_main_end, on_end, &life);
        while (watch.loop)
                loop_run_once(life.loop, true);
}

/* The next word that the tree says: a pid. */
static pid_t next_pid(void) {
        char text[32];
        size_t n = 0;

        do
                ck_assert_int_eq(read(life.words[0], text + n, 1), 1);
        while (text[n++] != '\n');
        text[n] = '\0';
        return (pid_t) strtol(text, NULL, 10);
}

static void until_end(void) {
        while (life.ends == 0)
                loop_run_once(life.loop, true);
}

/* A few turns more: nothing is told twice. */
static void nothing_more(void) {
        for (int i = 0; i < 5; i++)
                loop_run_once(life.loop, false);
        ck_assert_int_eq(life.main_ends, 1);
        ck_assert_int_eq(life.ends, 1);
}

static void until_dead(int pidfd) {
        struct pollfd p = {.fd = pidfd, .events = POLLIN};

        ck_assert_int_eq(poll(&p, 1, 30000), 1);
}

static const char *end_text(void) {
        static char text[64];

        return process_end_text(life.tree.end, life.tree.status, text, sizeof(text));
}

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
                if (!open_life(_i))
                        return;
                start((char *) (uintptr_t) cases[i].script);
                until_end();
                ck_assert_str_eq(end_text(), cases[i].text);
                ck_assert_int_eq(life.tree.end, cases[i].end);
                nothing_more();
                ck_assert_int_eq(process_tree_signal_all(&life.tree, SIGTERM), -ESRCH);
                ck_assert_int_eq(process_tree_signal_main(&life.tree, SIGTERM), -ESRCH);
                close_life();
                ck_assert_int_lt(waitpid(-1, NULL, WNOHANG), 0); /* no zombie is left */
        }
}
END_TEST

START_TEST(the_end_of_the_main_process_is_not_that_of_all) {
        pid_t child;

        if (!open_life(_i))
                return;
        start("sleep 1000 & echo $!; exit 5");
        child = next_pid();
        while (life.main_ends == 0)
                loop_run_once(life.loop, true);
        ck_assert_str_eq(end_text(), "exited with status 5");
        ck_assert(process_tree_has(&life.tree, child));
        loop_run_once(life.loop, false);
        ck_assert_int_eq(life.ends, 0);
        ck_assert_int_eq(process_tree_signal_all(&life.tree, SIGTERM), 0);
        until_end();
        nothing_more();
        ck_assert(!process_tree_has(&life.tree, child));
        close_life();
}
END_TEST

#define FORKS_AWAY                                                                                 \
        "setsid sh -c 'sleep 1000 & echo $!; exit' </dev/null & wait; echo $$; exec sleep 1000"

START_TEST(what_forks_away_is_killed_with_its_cgroup) {
        pid_t away;
        int pidfd;

        if (!open_life(WITH_CGROUP))
                return;
        start(FORKS_AWAY);
        away = next_pid();
        pidfd = process_open(away);
        (void) next_pid();
        ck_assert(process_tree_has(&life.tree, away));
        process_tree_kill(&life.tree);
        until_end();
        until_dead(pidfd);
        nothing_more();
        close(pidfd);
        close_life();
}
END_TEST

START_TEST(what_leaves_its_session_is_not_in_the_process_group) {
        pid_t away;
        int pidfd;

        if (!open_life(WITH_GROUP))
                return;
        start(FORKS_AWAY);
        away = next_pid();
        pidfd = process_open(away);
        (void) next_pid();
        ck_assert(!process_tree_has(&life.tree, away));
        process_tree_kill(&life.tree);
        until_end();
        ck_assert_int_eq(process_has_ended(pidfd), 0);
        ck_assert_int_eq(pidfd_send_signal(pidfd, SIGKILL, NULL, 0), 0);
        until_dead(pidfd);
        close(pidfd);
        close_life();
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
        process_tree_start(&life.tree, pid, pidfd, on_main_end, on_end, &life);
}

START_TEST(a_fork_bomb_is_killed) {
        atomic_int *made =
                mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (!open_life(WITH_CGROUP))
                return;
        start_bomb(made, 400);
        while (atomic_load(made) < 50)
                ;
        if (_i == 0)
                process_tree_kill(&life.tree);
        else
                process_tree_kill_in_rounds(&life.tree);
        until_end();
        nothing_more();
        ck_assert(!cgroup_is_populated(life.tree.events_fd));
        close_life();
        munmap(made, 4096);
}
END_TEST

START_TEST(rounds_alone_kill_what_forks_in_between) {
        atomic_int *made =
                mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (!open_life(WITH_CGROUP))
                return;
        start_bomb(made, 200);
        while (atomic_load(made) < 20)
                ;
        /* without the freezer, and with the rounds that come from the loop alone */
        life.tree.killing = true;
        (void) process_tree_signal_main(&life.tree, SIGKILL);
        until_end();
        nothing_more();
        close_life();
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
        if (!open_life(WITH_CGROUP))
                return;
        start(FORKS_AWAY);
        away = next_pid();
        pidfd = process_open(away);
        (void) next_pid();
        hide_cgroup_kill(target);
        process_tree_kill(&life.tree);
        until_end();
        until_dead(pidfd); /* which is in no session of the main process, nor its child */
        nothing_more();
        ck_assert_str_eq(end_text(), "killed by SIGKILL");
        close(pidfd);
        ck_assert_int_eq(umount2(target, MNT_DETACH), 0);
        close_life();
}
END_TEST

START_TEST(a_stopped_process_gets_its_signal) {
        pid_t child;

        for (int all = 0; all < 2; all++) {
                struct process_stat stat = {0};

                if (!open_life(_i))
                        return;
                start("echo $$; kill -STOP $$; exit 9");
                child = next_pid();
                while (process_stat_read(child, &stat) == 0 && stat.state != 'T')
                        loop_run_once(life.loop, false);
                if (all)
                        ck_assert_int_eq(process_tree_signal_all(&life.tree, SIGTERM), 0);
                else
                        ck_assert_int_eq(process_tree_signal_main(&life.tree, SIGTERM), 0);
                until_end();
                ck_assert_str_eq(end_text(), "killed by SIGTERM");
                close_life();
        }
}
END_TEST

START_TEST(zombies_that_nobody_collects_do_not_keep_a_group) {
        if (!open_life(WITH_GROUP))
                return;
        /* as a container's first process that collects nobody */
        ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
        start("sleep 1000 & echo $!");
        (void) next_pid();
        while (life.main_ends == 0)
                loop_run_once(life.loop, true);
        process_tree_kill(&life.tree);
        until_end();
        nothing_more();
        close_life();
}
END_TEST

START_TEST(another_process_of_the_tree_becomes_the_main_one) {
        pid_t child, stranger = fork();

        if (stranger == 0)
                for (;;)
                        pause();
        if (!open_life(_i))
                goto out;
        start("sleep 1000 & echo $!; sleep 1000 & echo $!; kill -STOP $$");
        child = next_pid();
        int sibling = process_open(next_pid());
        ck_assert_int_eq(process_tree_set_main(&life.tree, stranger), -EPERM);
        ck_assert_int_eq(process_tree_set_main(&life.tree, 0), -ESRCH);
        ck_assert_int_eq(process_tree_set_main(&life.tree, life.tree.pid), 0);
        ck_assert_int_eq(process_tree_set_main(&life.tree, child), 0);
        ck_assert_int_eq(life.tree.pid, child);
        /* its parent, which led the group, ends: that is no end of anything */
        pid_t leader = life.tree.group;
        int leader_fd = process_open(leader);
        ck_assert_int_eq(kill(leader, SIGKILL), 0);
        until_dead(leader_fd);
        close(leader_fd);
        loop_run_once(life.loop, false);
        loop_run_once(life.loop, false);
        ck_assert_int_eq(life.main_ends, 0);
        ck_assert(process_tree_has(&life.tree, child));
        ck_assert_int_eq(process_tree_signal_all(&life.tree, SIGTERM), 0);
        until_dead(sibling); /* by the group, which the new main process does not lead */
        close(sibling);
        until_end();
        nothing_more();
        close_life();
out:
        (void) kill(stranger, SIGKILL);
        (void) waitpid(stranger, NULL, 0);
}
END_TEST

/* ---- former lives ----------------------------------------------------------------------------*/

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

static void adopt(pid_t pid, uint64_t start_time, int pidfd) {
        process_tree_adopt(&life.tree, &life.root, life.loop, NULL, pid, start_time, pidfd, "",
                           on_main_end, on_end, &life);
}

static uint64_t start_time_of(pid_t pid) {
        struct process_stat stat = {0};

        ck_assert_int_eq(process_stat_read(pid, &stat), 0);
        return stat.start_time;
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

START_TEST(the_end_of_a_strangers_child_is_known_when_it_is_collected) {
        pid_t pid, parent;
        int hold, pidfd;

        SKIP_UNLESS(kernel_tells_exits(), "PIDFD_INFO_EXIT is of Linux 6.15");
        (void) open_life(WITH_GROUP);
        pid = start_foster("exec sleep 1000", &hold, &parent);
        pidfd = process_open(pid);
        adopt(pid, start_time_of(pid), pidfd);
        ck_assert(process_tree_has(&life.tree, pid));
        ck_assert_int_eq(process_tree_signal_main(&life.tree, SIGKILL), 0);
        until_dead(pidfd);
        loop_run_once(life.loop, true);
        ck_assert_int_eq(life.main_ends, 0); /* a zombie, of which nothing can be said yet */
        close_fd(hold);
        until_end();
        ck_assert_str_eq(end_text(), "killed by SIGKILL");
        nothing_more();
        close_life();
        end_foster(parent, -1);
}
END_TEST

START_TEST(an_end_that_happened_meanwhile_is_told) {
        struct process_stat stat;
        pid_t pid, parent;
        int hold, pidfd;

        SKIP_UNLESS(kernel_tells_exits(), "PIDFD_INFO_EXIT is of Linux 6.15");
        (void) open_life(WITH_GROUP);
        pid = start_foster("exit 8", &hold, &parent);
        pidfd = process_open(pid);
        uint64_t start_time = start_time_of(pid);
        close(hold);
        while (process_stat_read(pid, &stat) == 0)
                (void) poll(NULL, 0, 1);
        adopt(pid, start_time, pidfd);
        ck_assert_int_eq(life.main_ends, 0); /* from the loop only */
        until_end();
        ck_assert_str_eq(end_text(), "exited with status 8");
        nothing_more();
        close_life();
        end_foster(parent, -1);
}
END_TEST

START_TEST(an_end_that_nobody_collects_is_unknown_in_time) {
        pid_t pid, parent;
        int hold;

        (void) open_life(WITH_GROUP);
        pid = start_foster("exit 8", &hold, &parent);
        adopt(pid, start_time_of(pid), process_open(pid));
        until_end();
        ck_assert_str_eq(end_text(), "ended, nobody knows how");
        nothing_more();
        close_life();
        end_foster(parent, hold);
}
END_TEST

START_TEST(a_cgroup_is_adopted_with_all_in_it) {
        char name[CGROUP_NAME_SIZE];
        pid_t pid, child;
        uint64_t start_time;
        int pidfd;

        if (!open_life(WITH_CGROUP))
                return;
        start("setsid sleep 1000 & echo $!; exec sleep 1000");
        child = next_pid();
        pid = life.tree.pid;
        start_time = life.tree.start_time;
        pidfd = fcntl(life.tree.pidfd, F_DUPFD_CLOEXEC, 3);
        strcpy(name, life.tree.cgroup);
        process_tree_clear(&life.tree); /* kills nothing, and leaves a cgroup that is in use */
        ck_assert_int_eq(process_has_ended(pidfd), 0);
        memset(&life.tree, 0, sizeof(life.tree));
        process_tree_adopt(&life.tree, &life.root, life.loop, NULL, pid, start_time, pidfd, name,
                           on_main_end, on_end, &life);
        ck_assert(process_tree_has(&life.tree, child));
        process_tree_kill(&life.tree);
        until_end();
        nothing_more();
        process_tree_clear(&life.tree);
        ck_assert_int_eq(faccessat(life.root.fd, name, F_OK, 0), -1);
        close_life();
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
                (void) open_life(WITH_GROUP);
                adopt(pid, start_time, lost ? -1 : pidfd);
                ck_assert_int_eq(process_tree_signal_all(&life.tree, SIGKILL), -ESRCH);
                process_tree_kill(&life.tree);
                until_end();
                ck_assert(!process_tree_has(&life.tree, pid));
                close_life();
        }
        ck_assert_int_eq(waitpid(stranger, NULL, WNOHANG), 0);
        (void) kill(stranger, SIGKILL);
        ck_assert_int_eq(waitpid(stranger, NULL, 0), stranger);
}
END_TEST

START_TEST(a_group_is_signalled_by_number_where_it_must) {
        if (!open_life(WITH_GROUP))
                return;
        start("sleep 1000 & echo $!; exit");
        pid_t child = next_pid();
        int pidfd = process_open(child);
        while (!life.tree.collected)
                loop_run_once(life.loop, true);
        /* its leader is gone, its number nobody's, and it has a member */
        ck_assert_int_eq(process_group_signal_by_number(life.tree.group, life.tree.pidfd,
                                                        life.tree.start_time, SIGTERM),
                         0);
        until_dead(pidfd);
        close(pidfd);
        until_end();
        close_life();
        ck_assert_int_eq(process_group_signal_by_number(1, 0, 0, 0), -ESRCH);
        ck_assert_int_eq(process_group_signal_by_number(0, 0, 0, 0), -ESRCH);
}
END_TEST

/* ---- where cgroups are -----------------------------------------------------------------------*/

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
        ck_assert_int_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
        if (mount(NULL, folder, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0) {
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

        if (!open_life(WITH_CGROUP))
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
        close_life();
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
        bool was_there[N_PLACES], is_used;
        struct cgroup_root next;

        if (!open_life(WITH_CGROUP))
                return;
        start("sleep 1000");
        set_age(life.tree.cgroup, 3600); /* and in use */
        for (size_t k = 0; k < N_PLACES; k++) {
                ck_assert_int_eq(mkdirat(life.root.fd, place(k), 0755), 0);
                set_age(place(k), places[k].age);
        }
        cgroup_root_open(&next, NULL);
        cgroup_root_close(&next);
        for (size_t k = 0; k < N_PLACES; k++)
                was_there[k] = unlinkat(life.root.fd, place(k), AT_REMOVEDIR) == 0;
        is_used = faccessat(life.root.fd, life.tree.cgroup, F_OK, 0) == 0 &&
                  process_has_ended(life.tree.pidfd) == 0;
        process_tree_kill(&life.tree);
        until_end();
        for (size_t k = 0; k < N_PLACES; k++)
                ck_assert_msg(was_there[k] == places[k].stays, "%s", place(k));
        ck_assert(is_used);
        close_life();
}
END_TEST

#define TEST_BOTH(name) tcase_add_loop_test(tests_, name, 0, N_KINDS)

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
        TEST(the_end_of_a_strangers_child_is_known_when_it_is_collected);
        TEST(an_end_that_happened_meanwhile_is_told);
        TEST(an_end_that_nobody_collects_is_unknown_in_time);
        TEST(a_cgroup_is_adopted_with_all_in_it);
        TEST(a_stranger_with_the_old_pid_is_not_hurt);
        TEST(a_group_is_signalled_by_number_where_it_must);
        TEST(where_no_cgroup_can_be_made_one_line_says_so);
        TEST(cgroups_of_one_name_are_two);
        TEST(empty_cgroups_of_a_former_life_are_removed);
})
