/*
 * A pid says who a sender is only as long as that process is there: it may have ended when its
 * packet is read, and another may have its number. Its pidfd, which the kernel adds to the packet
 * since 6.5, tells; an older kernel leaves a window that only who may write to the socket can use.
 */
#include "components/notify_sender.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "components/pidfd_info.h"
#include "components/process_tree.h"

/* From 6.9 each process has one inode in pidfs; before that all pidfds are the same anonymous one,
 * and the pid decides alone. */
static bool is_same_process(int a, int b) {
        struct stat sa, sb;

        if (a < 0 || b < 0 || fstat(a, &sa) < 0 || fstat(b, &sb) < 0)
                return true;
        return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* Also when it has ended: the tree knows its main process by pidfd. */
static bool is_main(const struct process_tree *tree, const struct message_sender *sender) {
        return tree && sender->pid == tree->pid && is_same_process(sender->pidfd, tree->pidfd);
}

/* Succeeds for a process that has ended and was not reaped: its pid is still its own. */
static bool has_its_pid(const struct message_sender *sender) {
        return sender->pidfd < 0 || pidfd_send_signal(sender->pidfd, 0, NULL, 0) == 0 ||
               errno != ESRCH;
}

/* The cgroup in which a process ended that has been reaped. */
static bool ended_in_cgroup(const struct process_tree *tree, const struct message_sender *sender) {
        const uint64_t both = FIRST_PIDFD_INFO_CGROUP | FIRST_PIDFD_INFO_EXIT;
        struct first_pidfd_info info = {.mask = both};
        struct stat st;

        if (tree->cgroup_fd < 0 || sender->pidfd < 0 || fstat(tree->cgroup_fd, &st) < 0)
                return false;
        return ioctl(sender->pidfd, FIRST_PIDFD_GET_INFO, &info) == 0 &&
               (info.mask & both) == both && info.cgroup_id == st.st_ino;
}

static const char *refused_by_tree(const struct process_tree *tree,
                                   const struct message_sender *sender) {
        bool has = process_tree_has(tree, sender->pid);

        /* In this order: the answer was about the sender if it has its pid after it. */
        if (has_its_pid(sender))
                return has ? NULL : "it is no process of this generation, or has ended";
        if (ended_in_cgroup(tree, sender))
                return NULL;
        return "it has ended, so nobody can tell whose it was; let it wait (systemd-notify does, "
               "without --no-block)";
}

const char *notify_sender_refused(enum notify_access access, const struct process_tree *tree,
                                  const struct process_tree *command,
                                  const struct message_sender *sender) {
        const char *refused;

        if (!sender->is_known || sender->pid <= 0)
                return "the kernel does not say who it is: it is in a foreign pid namespace";
        if (access == NOTIFY_NONE)
                return "NotifyAccess=none";
        if (is_main(tree, sender))
                return NULL;
        if (access == NOTIFY_MAIN)
                return "it is not the main process, which alone may (NotifyAccess=main)";
        if (is_main(command, sender))
                return NULL;
        if (access == NOTIFY_EXEC)
                return "it is neither the main process nor that of a command, which alone may "
                       "(NotifyAccess=exec)";
        refused = refused_by_tree(tree, sender);
        return refused && command ? refused_by_tree(command, sender) : refused;
}
