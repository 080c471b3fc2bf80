/*
 * Start one process of a component. All that can block or fail (environment files, the working
 * directory, the search in PATH, exec) happens in the child, from a clean slate (systemd.exec(5),
 * "Environment variables in spawned processes", and our own: signal mask and dispositions reset,
 * nothing of the broker's own service manager left in the environment); what fails there comes back
 * with its step and errno through a pipe that a successful exec closes.
 */
#ifndef COMPONENTS_SPAWN_H
#define COMPONENTS_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "config/component_config.h"
#include "core/loop.h"

/* In the order in which the child goes through them. */
enum spawn_step {
        SPAWN_CLONE,
        SPAWN_GROUP,             /* cgroup, session */
        SPAWN_RUNTIME_DIRECTORY, /* these in the order of enum directory_kind */
        SPAWN_STATE_DIRECTORY,
        SPAWN_CACHE_DIRECTORY,
        SPAWN_LOGS_DIRECTORY,
        SPAWN_CONFIGURATION_DIRECTORY,
        SPAWN_OUTPUT, /* after them: it may be a file there */
        SPAWN_DESCRIPTORS,
        SPAWN_ENVIRONMENT, /* an environment file, or a variable that cannot be expanded */
        SPAWN_LIMITS,      /* after it: LimitNOFILE= may leave no descriptor for reading files */
        SPAWN_CREDENTIALS,
        SPAWN_WORKING_DIRECTORY,
        SPAWN_PROGRAM, /* not found, or not to be executed */
        N_SPAWN_STEPS
};

const char *
spawn_step_name(enum spawn_step step); /* for people: "changing to the working directory" */

/* With it the child ends when that step failed; those of systemd(1), which people know (203: exec).
 */
int spawn_step_exit_status(enum spawn_step step);

/* A descriptor that the program is given, from 3 on in this order. All lent. */
struct spawn_fd {
        int fd;
        const char *name; /* LISTEN_FDNAMES */
};

struct spawn {
        const struct component_config *config;
        const struct command *command;
        unsigned instance;          /* 0 to Instances= - 1 */
        uint64_t generation;        /* FDPASS_GENERATION, FDPASS_INSTANCE, FDPASS_COMPONENT */
        const struct spawn_fd *fds; /* LISTEN_FDS; none for commands beside the main one */
        size_t n_fds;
        const char *notify_socket;    /* NOTIFY_SOCKET; NULL: none */
        const char *control_socket;   /* FDPASS_SOCKET, so that libfdpass finds us; NULL: none */
        const char *const *variables; /* more, "NAME=VALUE" (MAINPID, SERVICE_RESULT, EXIT_CODE,
                                         EXIT_STATUS); ends with NULL; NULL: none */
        int output_fd, error_fd;      /* lent; -1: /dev/null. Files of StandardOutput= are opened
                                         by the child */
        int cgroup_fd;                /* lent folder of a cgroup v2 to be born in; -1: none */
        pid_t ends_with; /* our pid: it is killed when we end, in whatever way; 0: it outlives us */
        bool is_held;    /* it begins with spawn_release(), and ends if we do before that */
        /*
         * Each has a session, and so a process group, of its own: setpgid(2) lets nobody join a
         * group of another session. Without cgroups a command beside the main one is a tree of its
         * own.
         */
};

/*
 * Either step == N_SPAWN_STEPS: the program runs (or was killed on its way there, which its pidfd
 * tells); or what failed, with a positive errno, and what it was about: a path, a name, "" when the
 * step says it all.
 */
typedef void spawn_done(void *owner, enum spawn_step step, int error, const char *what);

/* Of a held child whose parent ended before it released it: nothing of it has run. */
#define SPAWN_UNRELEASED_STATUS 254

/* The result pipe of a child on its way to exec. */
struct spawn_watch {
        struct io_watch watch;
        struct loop *loop;
        int fd;      /* owned; -1 */
        int hold_fd; /* owned; of a held child; its end ends it; only while `loop` is set */
        spawn_done *done;
        void *owner;
};

/*
 * Start it: *ret_pid, and *ret_pidfd for the caller (close-on-exec), who waits for it. done() is
 * called once from the loop. Does not block. 0, -EAGAIN, -ENOMEM, -EMFILE (then nothing was
 * started and done() is not called).
 */
int spawn_start(struct spawn_watch *watch, struct loop *loop, const struct spawn *spawn,
                pid_t *ret_pid, int *ret_pidfd, spawn_done *done, void *owner);
/*
 * Let a held child begin: what is to outlive us of it has been kept. In between nothing may be
 * forked, which would have the pipe open that tells the child of our end.
 */
void spawn_release(struct spawn_watch *watch);
/* done() is not called any more; the child goes on. Nothing when it is not started. */
void spawn_watch_stop(struct spawn_watch *watch);

#endif
