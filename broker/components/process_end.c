/*
 * How a process ended. waitid(2) answers its parent only; PIDFD_GET_INFO (PIDFD_INFO_EXIT, Linux
 * 6.15) answers whoever holds a pidfd, but not before the parent has collected the process.
 */
#include "components/process_end.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/pidfd_info.h"

static void from_wait_status(int status, enum process_end *ret, int *ret_status) {
        if (WIFEXITED(status)) {
                *ret = PROCESS_EXITED;
                *ret_status = WEXITSTATUS(status);
        } else {
                *ret = WCOREDUMP(status) ? PROCESS_DUMPED : PROCESS_KILLED;
                *ret_status = WTERMSIG(status);
        }
}

static void from_child(const siginfo_t *info, enum process_end *ret, int *ret_status) {
        *ret = info->si_code == CLD_EXITED   ? PROCESS_EXITED
               : info->si_code == CLD_DUMPED ? PROCESS_DUMPED
                                             : PROCESS_KILLED;
        *ret_status = info->si_status;
}

/* Linux looks for an end first and at the living process then (pidfd_info() in fs/pidfs.c, 6.15):
 * whoever is collected between is refused, and told of when it is asked about again. */
static int ask(int pidfd, struct first_pidfd_info *answer) {
        int r = ioctl(pidfd, FIRST_PIDFD_GET_INFO, answer);

        return r < 0 && errno == ESRCH ? ioctl(pidfd, FIRST_PIDFD_GET_INFO, answer) : r;
}

bool process_end_read(int pidfd, enum process_end *ret, int *ret_status) {
        struct first_pidfd_info answer = {.mask = FIRST_PIDFD_INFO_EXIT};
        siginfo_t info = {0};

        if (waitid(P_PIDFD, (id_t) pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
                if (info.si_pid == 0)
                        return false;
                from_child(&info, ret, ret_status);
                return true;
        }
        *ret = PROCESS_UNKNOWN;
        *ret_status = 0;
        /*
         * Once the process is collected, a kernel that does not know the answer refuses: an older
         * one does not know the question (ENOTTY, EINVAL), or tells of living processes alone
         * (ESRCH), and then it is not known whether it was collected: no use in asking again.
         */
        if (ask(pidfd, &answer) < 0)
                return true;
        if (!(answer.mask & FIRST_PIDFD_INFO_EXIT))
                return false;
        from_wait_status(answer.exit_code, ret, ret_status);
        return true;
}

void process_end_collect(int pidfd) {
        siginfo_t info;

        (void) waitid(P_PIDFD, (id_t) pidfd, &info, WEXITED | WNOHANG);
}

const char *process_end_text(enum process_end end, int status, char *buffer, size_t size) {
        const char *name = sigabbrev_np(status); /* NULL for real-time signals */
        const char *dumped = end == PROCESS_DUMPED ? ", core dumped" : "";

        switch (end) {
        case PROCESS_RUNS:
                (void) snprintf(buffer, size, "runs");
                break;
        case PROCESS_EXITED:
                (void) snprintf(buffer, size, "exited with status %d", status);
                break;
        case PROCESS_KILLED:
        case PROCESS_DUMPED:
                if (name)
                        (void) snprintf(buffer, size, "killed by SIG%s%s", name, dumped);
                else
                        (void) snprintf(buffer, size, "killed by signal %d%s", status, dumped);
                break;
        case PROCESS_UNKNOWN:
                (void) snprintf(buffer, size, "ended, nobody knows how");
                break;
        }
        return buffer;
}

int process_stat_read(pid_t pid, struct process_stat *ret) {
        char path[64], text[1024], *p;
        _cleanup_close_ int fd = -1;
        struct process_stat stat = {0};
        long long start = 0;
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
        if (n <= 0)
                return -ESRCH;
        text[n] = '\0';
        /* The name stands in parentheses and may hold any character, those too: from the end. */
        p = strrchr(text, ')');
        if (!p || sscanf(p + 1,
                         " %c %d %d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
                         "%*d %lld",
                         &stat.state, &stat.parent, &stat.group, &start) != 4)
                return -ESRCH;
        stat.start_time = (uint64_t) start;
        *ret = stat;
        return 0;
}
