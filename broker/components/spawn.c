/*
 * The parent's side: one process more, by clone3(2) where that may be used, because it makes the
 * pidfd with the process and has it born in its cgroup, so that there is no moment in which it is
 * neither ours nor killable. The broker has one thread, and the child leaves by exec or _exit(), so
 * a bare system call in place of fork(3) is safe.
 */
#include "components/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/spawn_private.h"
#include "core/process.h"

static const struct {
        const char *name;
        int exit_status;
} steps[N_SPAWN_STEPS] = {
        [SPAWN_CLONE] = {"starting a process", 1},
        [SPAWN_GROUP] = {"entering its cgroup", 219},
        [SPAWN_RUNTIME_DIRECTORY] = {"making its runtime directory", 233},
        [SPAWN_STATE_DIRECTORY] = {"making its state directory", 238},
        [SPAWN_CACHE_DIRECTORY] = {"making its cache directory", 239},
        [SPAWN_LOGS_DIRECTORY] = {"making its logs directory", 240},
        [SPAWN_CONFIGURATION_DIRECTORY] = {"making its configuration directory", 241},
        [SPAWN_OUTPUT] = {"opening its standard output", 209},
        [SPAWN_DESCRIPTORS] = {"arranging its descriptors", 202},
        [SPAWN_ENVIRONMENT] = {"reading its environment", 1},
        [SPAWN_LIMITS] = {"setting its limits", 205},
        [SPAWN_CREDENTIALS] = {"changing to its user, groups and capabilities", 217},
        [SPAWN_WORKING_DIRECTORY] = {"changing to its working directory", 200},
        [SPAWN_PROGRAM] = {"executing the program", 203},
};

const char *spawn_step_name(enum spawn_step step) {
        return step < N_SPAWN_STEPS ? steps[step].name : "running";
}

int spawn_step_exit_status(enum spawn_step step) {
        return step < N_SPAWN_STEPS ? steps[step].exit_status : 0;
}

/* Is the lack one that will pass, and that trying in another way would not mend? */
static bool is_lack(int error) {
        return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE;
}

/* As fork(2), with the child's pidfd. */
static pid_t clone_with_pidfd(int cgroup_fd, int *ret_pidfd) {
        int pidfd = -1;
        struct clone_args args = {
                .flags = CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
                .pidfd = (uint64_t) (uintptr_t) &pidfd,
                .exit_signal = SIGCHLD,
        };
        pid_t pid;

        if (cgroup_fd >= 0) {
                args.flags |= CLONE_INTO_CGROUP;
                args.cgroup = (uint64_t) cgroup_fd;
        }
        pid = (pid_t) syscall(SYS_clone3, &args, sizeof(args));
        if (pid > 0)
                *ret_pidfd = pidfd;
        return pid;
}

static void on_result(void *owner, int events) {
        struct spawn_watch *watch = owner;
        struct spawn_report report = {.step = N_SPAWN_STEPS};
        ssize_t n = read(watch->fd, &report, sizeof(report));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n != (ssize_t) sizeof(report))
                report = (struct spawn_report){.step = N_SPAWN_STEPS};
        report.what[sizeof(report.what) - 1] = '\0';
        spawn_watch_stop(watch);
        watch->done(watch->owner, report.step, report.error, report.what);
}

int spawn_start(struct spawn_watch *watch, struct loop *loop, const struct spawn *spawn,
                pid_t *ret_pid, int *ret_pidfd, spawn_done *done, void *owner) {
        bool is_in_cgroup = spawn->cgroup_fd >= 0;
        int ends[2], hold[2] = {-1, -1}, pidfd = -1;
        pid_t pid;

        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        if (spawn->is_held && pipe2(hold, O_CLOEXEC) < 0) {
                int r = -errno;
                close_fd(ends[0]);
                close_fd(ends[1]);
                return r;
        }
        pid = clone_with_pidfd(spawn->cgroup_fd, &pidfd);
        if (pid < 0 && !is_lack(errno)) {
                /*
                 * No clone3 here (ENOSYS, or EPERM by a seccomp filter), or not into this cgroup:
                 * then the child enters it by itself, and reports what hinders it.
                 */
                is_in_cgroup = false;
                pid = process_fork(&pidfd);
        }
        if (pid == 0) {
                close_fd(hold[1]); /* or it would wait for itself */
                spawn_child(spawn, is_in_cgroup, ends[1], hold[0]);
        }
        int error = errno;
        close_fd(ends[1]);
        close_fd(hold[0]);
        if (pid < 0) {
                close_fd(ends[0]);
                close_fd(hold[1]);
                return is_lack(error) ? -error : -EAGAIN;
        }
        watch->loop = loop;
        watch->fd = ends[0];
        watch->hold_fd = hold[1];
        watch->done = done;
        watch->owner = owner;
        io_watch_start(&watch->watch, loop, watch->fd, IO_READ, on_result, watch);
        *ret_pid = pid;
        *ret_pidfd = pidfd;
        return 0;
}

void spawn_release(struct spawn_watch *watch) {
        if (!watch->loop || watch->hold_fd < 0)
                return;
        (void) !write(watch->hold_fd, "1", 1); /* one byte into an empty pipe never waits */
        watch->hold_fd = close_fd(watch->hold_fd);
}

void spawn_watch_stop(struct spawn_watch *watch) {
        if (!watch->loop)
                return;
        io_watch_stop(&watch->watch);
        watch->hold_fd = close_fd(watch->hold_fd);
        watch->fd = close_fd(watch->fd);
        watch->loop = NULL;
}
