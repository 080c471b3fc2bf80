/*
 * A process with all that it forked: a cgroup v2 where we may make one, else the process group of
 * its own session. What is killed is the tree, and what has ended is the tree.
 *
 * Also how the main process ended: from waitid(2) when it is our child; when it is not any more
 * (the broker that started it is gone) from PIDFD_GET_INFO (Linux 6.15); else it is unknown, and
 * called so.
 */
#ifndef COMPONENTS_PROCESS_TREE_H
#define COMPONENTS_PROCESS_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/loop.h"

struct helper;
struct log;

/* Where trees get their cgroups; one a broker. */
struct cgroup_root {
        int fd;     /* owned folder; -1: no cgroup v2 that we may write: process groups then */
        char *path; /* of it, for /proc/PID/cgroup and messages; NULL */
};

/* Finds the broker's own cgroup and tries it; says once in the log what is used. Never fails. */
void cgroup_root_open(struct cgroup_root *root, struct log *log);
/* Only finds it: fd is -1 when there is none. What may be done there is not known. */
void cgroup_root_find(struct cgroup_root *root);
void cgroup_root_close(struct cgroup_root *root);

#define CGROUP_NAME_SIZE 128
#define PLACE_PREFIX "fdpass-" /* of the names of trees */
/* In the name of one that nobody takes over when its broker dies; no component can have it. */
#define PLACE_OF_HEALTH "+health"

enum process_end { PROCESS_RUNS, PROCESS_EXITED, PROCESS_KILLED, PROCESS_DUMPED, PROCESS_UNKNOWN };

struct process_tree {
        struct cgroup_root *root;
        struct loop *loop;
        struct log *log;
        pid_t pid;                     /* of the main process */
        uint64_t start_time;           /* of it: field 22 of /proc/PID/stat; tells a reused pid */
        int pidfd;                     /* owned; -1 */
        int cgroup_fd;                 /* owned folder; -1: process group */
        char cgroup[CGROUP_NAME_SIZE]; /* its name below the root; "" */
        uint64_t cgroup_inode;         /* the name may come to be of another */

        struct io_watch exit_watch;
        struct io_watch cgroup_watch; /* events_set */
        int events_fd;                /* cgroup.events, owned; -1 */
        int events_set;               /* epoll set of it alone, owned: libev has no EPOLLPRI; -1 */
        struct timer poll;            /* a process group tells nothing: asked while it is to end */
        uint64_t poll_usec;           /* the next pause of it, which grows */
        uint64_t exit_usec;           /* since when another is to collect the main process */
        struct helper *search; /* for living members of a group that does not go away; NULL */

        /* Without a cgroup: the group that the first process leads, whoever is the main one now. */
        pid_t group;               /* 0: not known any more */
        uint64_t group_start_time; /* of its leader */
        int leader_fd;             /* its pidfd, owned; -1: pidfd is it */

        enum process_end end; /* of the main process */
        int status;           /* exit status or signal */
        bool main_ended;
        bool collected; /* the main process; from then on its pid may be another's */
        bool killing;   /* in rounds, until all has ended */
        bool ended;     /* all of it */
        /* The main process is gone, and may have said in time who is to be it: set_main(). NULL. */
        void (*on_main_exit)(void *owner);
        void (*on_main_end)(void *owner);
        void (*on_end)(void *owner); /* after on_main_end, at most once */
        void *owner;
};

/* Make the place for one: *tree is zeroed by the caller; cgroup_fd for spawn. 0, or -errno. */
int process_tree_prepare(struct process_tree *tree, struct cgroup_root *root, struct loop *loop,
                         struct log *log, const char *name);
/* The main process was started. Takes pidfd. Callbacks come from the loop only. */
void process_tree_start(struct process_tree *tree, pid_t pid, int pidfd,
                        void (*on_main_end)(void *owner), void (*on_end)(void *owner), void *owner);
/* What was kept of one of a former life. */
struct process_tree_kept {
        pid_t pid;
        uint64_t start_time;
        int pidfd; /* -1: lost */
        char cgroup[CGROUP_NAME_SIZE];
        uint64_t cgroup_inode; /* 0: of a version that kept none */
};

/* Takes the pidfd. Ends that happened meanwhile are told from the loop like others. */
void process_tree_adopt(struct process_tree *tree, struct cgroup_root *root, struct loop *loop,
                        struct log *log, const struct process_tree_kept *kept,
                        void (*on_main_end)(void *owner), void (*on_end)(void *owner), void *owner);
/*
 * After that, where another than the main process leads its group: the number of it, when the
 * leader was started, and the leader's pidfd (taken), be it alive or not.
 */
void process_tree_adopt_group(struct process_tree *tree, pid_t group, uint64_t leader_start_time,
                              int leader_fd);
/* MAINPID=: another process of the tree is the main one. -ESRCH; -EPERM when it is none of it. */
int process_tree_set_main(struct process_tree *tree, pid_t pid);

/* To the main process; to all. 0, or -ESRCH. A stopped process is continued, except by SIGKILL. */
int process_tree_signal_main(struct process_tree *tree, int signal);
int process_tree_signal_all(struct process_tree *tree, int signal);
/* SIGKILL to all, by cgroup.kill (5.14), else in rounds until none is left. */
void process_tree_kill(struct process_tree *tree);

/* Is this process part of it? Reads one small file of /proc, of which none takes a lock. */
bool process_tree_has(const struct process_tree *tree, pid_t pid);
/* Its processes now, at most `max`; their number. May read /proc: for disposable children. */
size_t process_tree_pids(const struct process_tree *tree, pid_t *ret, size_t max);

/*
 * Into *ret, zeroed, what process_tree_pids() needs in another process: no pointers, and as
 * cgroup_fd that one sets its own duplicate of ours, -1 if we have none.
 */
void process_tree_outline(const struct process_tree *tree, struct process_tree *ret);

/*
 * What is still to come of it is told elsewhere: *ret becomes the tree, and *tree is as after
 * process_tree_clear().
 */
void process_tree_move(struct process_tree *tree, struct process_tree *ret,
                       void (*on_main_end)(void *owner), void (*on_end)(void *owner), void *owner);
/* Removes its cgroup when all has ended, ahead of process_tree_clear(); else nothing. */
void process_tree_remove_cgroup(struct process_tree *tree);
/* Stops watching, closes, removes its cgroup when that is empty; kills nothing. */
void process_tree_clear(struct process_tree *tree);

/* "exited with status 3", "killed by SIGSEGV", "ended, nobody knows how". */
const char *process_end_text(enum process_end end, int status, char *buffer, size_t size);

#endif
