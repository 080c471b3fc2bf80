/*
 * Two watches make two facts: the pidfd of the main process tells its end, cgroup.events (or, for a
 * process group, asking again and again) that of all others. A callback may free the tree, so each
 * is the last thing that a handler does, and each has a turn of the loop of its own.
 *
 * Our own child is collected only in the turn after its end was told: until then its pid is its
 * own, and what it said last (MAINPID=, STATUS=) is still known to be the tree's.
 */
#include "components/process_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/cgroup.h"
#include "components/process_end.h"
#include "components/process_group.h"
#include "components/process_tree_private.h"
#include "core/helper.h"
#include "core/log.h"
#include "core/process.h"

#define POLL_FIRST_USEC UINT64_C(10000)
#define POLL_LAST_USEC UINT64_C(500000)
/* A parent that has not collected its child by then will hardly do. */
#define STATUS_PATIENCE_USEC UINT64_C(320000)
/* But who is ours, too, collects: a keeper that has not was held up. */
#define KEEPER_PATIENCE_USEC UINT64_C(3000000)
/* A group that is still there after this may consist of zombies that nobody collects. */
#define ZOMBIE_PATIENCE_USEC UINT64_C(160000)
#define SEARCH_USEC UINT64_C(5000000)
/* So many are signalled one by one in one turn. */
#define PIDS_MAX 4096

static void on_poll(void *owner);

static bool has_cgroup(const struct process_tree *tree) {
        return tree->cgroup_fd >= 0;
}

/* Ask at once, and then at growing intervals. */
static void poll_now(struct process_tree *tree) {
        tree->poll_usec = POLL_FIRST_USEC;
        timer_start(&tree->poll, tree->loop, 0, on_poll, tree);
}

static void poll_later(struct process_tree *tree) {
        timer_start(&tree->poll, tree->loop, tree->poll_usec, on_poll, tree);
        tree->poll_usec *= 2;
        if (tree->poll_usec > POLL_LAST_USEC)
                tree->poll_usec = POLL_LAST_USEC;
}

/* ---- the end ---------------------------------------------------------------------------------*/

/* The last thing that its caller does. */
static void tell_main_end(struct process_tree *tree) {
        tree->main_ended = true;
        poll_now(tree);
        tree->on_main_end(tree->owner);
}

static void tell_end(struct process_tree *tree) {
        tree->ended = true;
        timer_stop(&tree->poll);
        io_watch_stop(&tree->cgroup_watch);
        tree->on_end(tree->owner);
}

static void on_exit_of_main(void *owner, int events) {
        struct process_tree *tree = owner;

        /* A pidfd stays readable from now on. */
        io_watch_stop(&tree->exit_watch);
        if (tree->on_main_exit)
                tree->on_main_exit(tree->owner);
        if (io_watch_is_started(&tree->exit_watch))
                return; /* of another process, which is the main one now */
        if (process_end_read(tree->pidfd, &tree->end, &tree->status)) {
                tell_main_end(tree);
        } else {
                tree->exit_usec = loop_now_usec();
                poll_now(tree);
        }
}

static bool main_is_over(struct process_tree *tree) {
        return !tree->main_ended && !io_watch_is_started(&tree->exit_watch);
}

static bool is_to_be_collected(const struct process_tree *tree) {
        struct process_stat stat;

        if (tree->poll_usec <= STATUS_PATIENCE_USEC)
                return true;
        return loop_now_usec() - tree->exit_usec < KEEPER_PATIENCE_USEC &&
               process_stat_read(tree->pid, &stat) == 0 && stat.parent == getppid();
}

/* Its parent is another, who did not collect it when we were told that it had ended. */
static void ask_status_again(struct process_tree *tree) {
        bool goes_on = is_to_be_collected(tree); /* asked first: once collected it has no parent */

        if (process_end_read(tree->pidfd, &tree->end, &tree->status)) {
                tell_main_end(tree);
        } else if (goes_on) {
                poll_later(tree);
        } else {
                tree->end = PROCESS_UNKNOWN;
                tell_main_end(tree);
        }
}

/* ---- a process group that does not go away ---------------------------------------------------*/

static int leader_fd(const struct process_tree *tree) {
        return tree->leader_fd >= 0 ? tree->leader_fd : tree->pidfd;
}

static int signal_group(const struct process_tree *tree, int signal) {
        return process_group_signal(tree->group, leader_fd(tree), tree->group_start_time, signal);
}

static void search_work(void *argument, int result_fd) {
        const struct process_tree *tree = argument;
        pid_t pid;

        if (process_group_pids(tree->group, &pid, 1) == 0)
                (void) !write(result_fd, "0", 1);
}

static void on_searched(void *owner, const char *result, size_t size) {
        struct process_tree *tree = owner;

        tree->search = NULL;
        if (size > 0)
                tell_end(tree);
        else
                poll_later(tree);
}

/*
 * Zombies keep a group, and an init that does not collect them (a container's first process often
 * does not) keeps zombies. To tell them takes reading /proc, which a disposable child does.
 */
static void search_living(struct process_tree *tree) {
        if (helper_start(&tree->search, tree->loop, SEARCH_USEC, search_work, tree, on_searched,
                         tree) < 0)
                poll_later(tree);
}

static void ask_group(struct process_tree *tree) {
        int r = signal_group(tree, tree->killing ? SIGKILL : 0);

        if (r == -ESRCH)
                tell_end(tree);
        else if (tree->poll_usec > ZOMBIE_PATIENCE_USEC && !tree->search)
                search_living(tree);
        else
                poll_later(tree);
}

/* ---- a cgroup --------------------------------------------------------------------------------*/

static void ask_cgroup(struct process_tree *tree) {
        if (!cgroup_is_populated(tree->events_fd)) {
                tell_end(tree);
                return;
        }
        if (tree->killing) {
                process_tree_kill_round(tree);
                poll_later(tree);
        } /* else its events tell */
}

static void on_cgroup(void *owner, int events) {
        struct process_tree *tree = owner;

        /* Reading is also what makes the set unreadable until the next change. */
        if (!cgroup_is_populated(tree->events_fd) && tree->main_ended && tree->collected)
                tell_end(tree);
}

static void on_poll(void *owner) {
        struct process_tree *tree = owner;

        if (main_is_over(tree)) {
                ask_status_again(tree);
                return;
        }
        if (tree->main_ended && !tree->collected) {
                process_end_collect(tree->pidfd);
                tree->collected = true;
        }
        if (!tree->main_ended && tree->killing && has_cgroup(tree)) {
                process_tree_kill_round(tree);
                poll_later(tree);
        } else if (tree->main_ended && has_cgroup(tree))
                ask_cgroup(tree);
        else if (tree->main_ended && !tree->search)
                ask_group(tree);
}

static int watch_cgroup(struct process_tree *tree) {
        struct epoll_event event = {.events = EPOLLPRI};

        tree->events_fd = cgroup_open_events(tree->cgroup_fd);
        if (tree->events_fd < 0)
                return tree->events_fd;
        tree->events_set = epoll_create1(EPOLL_CLOEXEC);
        if (tree->events_set < 0 ||
            epoll_ctl(tree->events_set, EPOLL_CTL_ADD, tree->events_fd, &event) < 0)
                return -errno;
        return 0;
}

/* ---- start and adopt -------------------------------------------------------------------------*/

static void begin(struct process_tree *tree, struct cgroup_root *root, struct loop *loop,
                  struct log *log) {
        tree->root = root;
        tree->loop = loop;
        tree->log = log;
        tree->pidfd = tree->cgroup_fd = tree->events_fd = tree->events_set = tree->leader_fd = -1;
}

static void close_cgroup(struct process_tree *tree) {
        io_watch_stop(&tree->cgroup_watch);
        /* Before it is closed: as long as it is, it is locked, and the name is ours. */
        if (has_cgroup(tree) && tree->root->fd >= 0 && !cgroup_is_populated(tree->events_fd))
                cgroup_remove(tree->root, tree->cgroup);
        tree->events_set = close_fd(tree->events_set);
        tree->events_fd = close_fd(tree->events_fd);
        tree->cgroup_fd = close_fd(tree->cgroup_fd);
        tree->cgroup[0] = '\0';
}

int process_tree_prepare(struct process_tree *tree, struct cgroup_root *root, struct loop *loop,
                         struct log *log, const char *name) {
        int r;

        begin(tree, root, loop, log);
        if (root->fd < 0)
                return 0;
        r = cgroup_make(root, name, tree->cgroup, &tree->cgroup_fd);
        if (r == 0) {
                tree->cgroup_inode = cgroup_inode(tree->cgroup_fd);
                r = watch_cgroup(tree);
        }
        if (r == 0)
                return 0;
        close_cgroup(tree);
        if (r == -EMFILE || r == -ENFILE || r == -ENOMEM)
                return r;
        log_warning(log, NULL,
                    "%s runs in a process group, because its cgroup below %s cannot be made: %s",
                    name, root->path, strerror(-r));
        return 0;
}

static void start_watching(struct process_tree *tree, void (*on_main_end)(void *owner),
                           void (*on_end)(void *owner), void *owner) {
        tree->on_main_end = on_main_end;
        tree->on_end = on_end;
        tree->owner = owner;
        if (tree->pidfd >= 0 && !tree->main_ended)
                io_watch_start(&tree->exit_watch, tree->loop, tree->pidfd, IO_READ, on_exit_of_main,
                               tree);
        else
                poll_now(tree);
        if (has_cgroup(tree))
                io_watch_start(&tree->cgroup_watch, tree->loop, tree->events_set, IO_READ,
                               on_cgroup, tree);
}

void process_tree_start(struct process_tree *tree, pid_t pid, int pidfd,
                        void (*on_main_end)(void *owner), void (*on_end)(void *owner),
                        void *owner) {
        struct process_stat stat = {0};

        /* Not collected, so it is there, be it as a zombie. */
        (void) process_stat_read(pid, &stat);
        tree->pid = tree->group = pid;
        tree->pidfd = pidfd;
        tree->start_time = tree->group_start_time = stat.start_time;
        start_watching(tree, on_main_end, on_end, owner);
}

/* Its pidfd was lost: another one, if the pid is still that of the same process. */
static int open_again(pid_t pid, uint64_t start_time) {
        struct process_stat stat;
        int pidfd = process_open(pid);

        if (pidfd >= 0 && (process_stat_read(pid, &stat) < 0 || stat.start_time != start_time))
                return close_fd(pidfd);
        return pidfd < 0 ? -1 : pidfd;
}

/* A broker that died after it had removed it may have left the name to another one's. */
static void adopt_cgroup(struct process_tree *tree, const char *name, uint64_t inode) {
        int fd = cgroup_open(tree->root, name, inode);

        if (fd < 0)
                return;
        (void) strcpy(tree->cgroup, name);
        tree->cgroup_fd = fd;
        tree->cgroup_inode = cgroup_inode(fd);
        if (watch_cgroup(tree) < 0)
                close_cgroup(tree);
}

void process_tree_adopt(struct process_tree *tree, struct cgroup_root *root, struct loop *loop,
                        struct log *log, const struct process_tree_kept *kept,
                        void (*on_main_end)(void *owner), void (*on_end)(void *owner),
                        void *owner) {
        struct process_stat stat;

        begin(tree, root, loop, log);
        tree->pidfd = kept->pidfd >= 0 ? kept->pidfd : open_again(kept->pid, kept->start_time);
        tree->pid = kept->pid;
        tree->start_time = tree->group_start_time = kept->start_time;
        if (kept->cgroup[0] && root->fd >= 0)
                adopt_cgroup(tree, kept->cgroup, kept->cgroup_inode);
        /*
         * Whom MAINPID= made the main process may be of a group that another leads, or led. If that
         * one is not told by process_tree_adopt_group(), the group is not signalled.
         */
        if (process_stat_read(kept->pid, &stat) < 0 || stat.start_time != kept->start_time ||
            stat.group == kept->pid)
                tree->group = tree->pidfd >= 0 ? kept->pid : 0;
        start_watching(tree, on_main_end, on_end, owner);
}

void process_tree_adopt_group(struct process_tree *tree, pid_t group, uint64_t leader_start_time,
                              int leader_fd) {
        tree->group = group;
        tree->group_start_time = leader_start_time;
        tree->leader_fd = leader_fd;
}

int process_tree_set_main(struct process_tree *tree, pid_t pid) {
        struct process_stat stat;
        int pidfd;

        if (tree->main_ended || pid <= 0)
                return -ESRCH;
        if (pid == tree->pid)
                return 0;
        pidfd = process_open(pid);
        if (pidfd < 0)
                return -ESRCH;
        /* What is said of the pid holds for the process if that still lives afterwards. */
        int r = !process_tree_has(tree, pid) || process_stat_read(pid, &stat) < 0 ? -EPERM
                : process_has_ended(pidfd) != 0                                   ? -ESRCH
                                                                                  : 0;
        if (r < 0) {
                close_fd(pidfd);
                return r;
        }
        io_watch_stop(&tree->exit_watch);
        if (!has_cgroup(tree) && tree->leader_fd < 0) {
                tree->leader_fd = fcntl(tree->pidfd, F_DUPFD_CLOEXEC, 3);
                if (tree->leader_fd < 0)
                        tree->group = 0; /* not by the pidfd of another */
        }
        if (tree->pidfd >= 0)
                loop_put_child(tree->loop, tree->pidfd);
        tree->pid = pid;
        tree->pidfd = pidfd;
        tree->start_time = stat.start_time;
        io_watch_start(&tree->exit_watch, tree->loop, pidfd, IO_READ, on_exit_of_main, tree);
        return 0;
}

void process_tree_remove_cgroup(struct process_tree *tree) {
        if (tree->loop && tree->ended)
                close_cgroup(tree);
}

static void stop_watching(struct process_tree *tree) {
        io_watch_stop(&tree->exit_watch);
        io_watch_stop(&tree->cgroup_watch);
        timer_stop(&tree->poll);
        tree->search = helper_stop(tree->search);
}

void process_tree_move(struct process_tree *tree, struct process_tree *ret,
                       void (*on_main_end)(void *owner), void (*on_end)(void *owner), void *owner) {
        stop_watching(tree);
        *ret = *tree;
        tree->loop = NULL;
        tree->pidfd = tree->cgroup_fd = tree->events_fd = tree->events_set = tree->leader_fd = -1;
        tree->cgroup[0] = '\0';
        ret->on_main_exit = NULL;
        start_watching(ret, on_main_end, on_end, owner);
}

void process_tree_clear(struct process_tree *tree) {
        if (!tree->loop)
                return;
        stop_watching(tree);
        close_cgroup(tree);
        tree->leader_fd = close_fd(tree->leader_fd);
        if (tree->collected)
                tree->pidfd = close_fd(tree->pidfd);
        else if (tree->pidfd >= 0) /* so that it leaves no zombie when it ends */
                loop_put_child(tree->loop, take_fd(&tree->pidfd));
        tree->loop = NULL;
}

/* ---- signals ---------------------------------------------------------------------------------*/

/* A stopped process would not take any other signal. */
static bool needs_continuing(int signal) {
        return signal != SIGKILL && signal != SIGCONT;
}

static int signal_process(int pidfd, int signal) {
        if (pidfd_send_signal(pidfd, signal, NULL, 0) < 0)
                return -errno;
        if (needs_continuing(signal))
                (void) pidfd_send_signal(pidfd, SIGCONT, NULL, 0);
        return 0;
}

int process_tree_signal_main(struct process_tree *tree, int signal) {
        if (tree->main_ended || tree->pidfd < 0)
                return -ESRCH;
        return signal_process(tree->pidfd, signal);
}

/* To each of the cgroup, one by one; how many got it. */
static size_t signal_cgroup(const struct process_tree *tree, int signal, bool *ret_main_too) {
        pid_t pids[PIDS_MAX];
        size_t n = cgroup_pids(tree->cgroup_fd, pids, PIDS_MAX), reached = 0;

        *ret_main_too = false;

        for (size_t i = 0; i < n; i++) {
                _cleanup_close_ int pidfd = process_open(pids[i]);
                /*
                 * It may have ended and its pid be another's. If the pid is of the tree, and the
                 * signal reaches a living process, then that lived when the pid was looked up.
                 */
                if (pidfd < 0 || !process_tree_has(tree, pids[i]))
                        continue;
                if (signal_process(pidfd, signal) < 0)
                        continue;
                reached++;
                if (pids[i] == tree->pid)
                        *ret_main_too = true;
        }
        return reached;
}

int process_tree_signal_all(struct process_tree *tree, int signal) {
        bool main_too = false;
        int r = -ESRCH;

        if (tree->ended)
                return -ESRCH;
        if (has_cgroup(tree)) {
                /* Not whether some are left: they may have ended of it by now. */
                r = signal_cgroup(tree, signal, &main_too) > 0 ? 0 : -ESRCH;
        } else {
                r = signal_group(tree, signal);
                if (r == 0 && needs_continuing(signal))
                        (void) signal_group(tree, SIGCONT);
                main_too = r == 0 && tree->pid == tree->group;
                if (tree->main_ended && !tree->search)
                        poll_now(tree);
        }
        /* It may have left the cgroup or the group, or not yet have come to make its own. */
        if (!main_too && process_tree_signal_main(tree, signal) == 0)
                r = 0;
        return r;
}

void process_tree_kill_round(struct process_tree *tree) {
        bool main_too;

        (void) signal_cgroup(tree, SIGKILL, &main_too);
}

void process_tree_kill(struct process_tree *tree) {
        if (tree->ended)
                return;
        (void) process_tree_signal_main(tree, SIGKILL);
        if (!has_cgroup(tree)) {
                tree->killing = true;
                (void) signal_group(tree, SIGKILL);
                if (tree->main_ended && !tree->search)
                        poll_now(tree);
        } else if (cgroup_kill(tree->cgroup_fd) < 0)
                process_tree_kill_in_rounds(tree);
}

void process_tree_kill_in_rounds(struct process_tree *tree) {
        tree->killing = true;
        /* Frozen processes fork no more, and can be killed. Where it fails the rounds go on. */
        (void) cgroup_freeze(tree->cgroup_fd);
        process_tree_kill_round(tree);
        poll_now(tree);
}

/* ---- who is it -------------------------------------------------------------------------------*/

bool process_tree_has(const struct process_tree *tree, pid_t pid) {
        struct process_stat stat;

        if (pid <= 0 || tree->ended)
                return false;
        if (pid == tree->pid && tree->pidfd >= 0 && !tree->collected)
                return true;
        if (has_cgroup(tree))
                return cgroup_has(tree->root, tree->cgroup, pid);
        return tree->group > 0 && process_stat_read(pid, &stat) == 0 && stat.group == tree->group;
}

size_t process_tree_pids(const struct process_tree *tree, pid_t *ret, size_t max) {
        size_t n;

        if (tree->ended || max == 0)
                return 0;
        if (has_cgroup(tree))
                n = cgroup_pids(tree->cgroup_fd, ret, max);
        else
                n = tree->group > 0 ? process_group_pids(tree->group, ret, max) : 0;
        if (n == 0 && !tree->main_ended && tree->pidfd >= 0)
                ret[n++] = tree->pid;
        return n;
}

void process_tree_outline(const struct process_tree *tree, struct process_tree *ret) {
        ret->pid = tree->pid;
        ret->pidfd = tree->pidfd;
        ret->cgroup_fd = -1;
        ret->group = tree->group;
        ret->main_ended = tree->main_ended;
        ret->ended = tree->ended;
}
