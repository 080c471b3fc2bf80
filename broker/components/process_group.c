/*
 * A process group is known by a number, which the kernel gives to no other process or group as long
 * as the group has a member, be it a zombie; but nobody tells us when the last one goes. From Linux
 * 6.9 a group can be signalled by the pidfd of its leader, which no reuse of the number can
 * deceive, even when the leader is long gone. Before that it is done by number, and only while the
 * number is the leader's (it lives, or was not collected) or no process's. What remains is a
 * process that got the number between two polls, made a group of it, forked, and ended, all before
 * we asked again: the numbers would have to wrap around in half a second.
 */
#include "components/process_group.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>

#include "components/process_end.h"
#include "core/process.h"

#ifndef PIDFD_SIGNAL_PROCESS_GROUP
#define PIDFD_SIGNAL_PROCESS_GROUP (1U << 2)
#endif

static bool is_still_ours(pid_t group, int leader_fd, uint64_t leader_start_time) {
        struct process_stat stat;

        if (process_has_ended(leader_fd) == 0)
                return true;
        return process_stat_read(group, &stat) < 0 || stat.start_time == leader_start_time;
}

int process_group_signal_by_number(pid_t group, int leader_fd, uint64_t leader_start_time,
                                   int signal) {
        /* kill(-1) would be everyone, kill(0) ourselves. */
        if (group <= 1 || !is_still_ours(group, leader_fd, leader_start_time))
                return -ESRCH;
        return kill(-group, signal) < 0 ? -errno : 0;
}

int process_group_signal(pid_t group, int leader_fd, uint64_t leader_start_time, int signal) {
        if (group <= 1)
                return -ESRCH;
        if (pidfd_send_signal(leader_fd, signal, NULL, PIDFD_SIGNAL_PROCESS_GROUP) == 0)
                return 0;
        if (errno != EINVAL)
                return -errno;
        return process_group_signal_by_number(group, leader_fd, leader_start_time, signal);
}

size_t process_group_pids(pid_t group, pid_t *ret, size_t max) {
        DIR *folder = opendir("/proc");
        const struct dirent *d;
        size_t count = 0;

        while (folder && count < max && (d = readdir(folder))) {
                struct process_stat stat;
                pid_t pid = (pid_t) strtol(d->d_name, NULL, 10);

                if (isdigit((unsigned char) d->d_name[0]) && process_stat_read(pid, &stat) == 0 &&
                    stat.group == group && stat.state != 'Z' && stat.state != 'X')
                        ret[count++] = pid;
        }
        if (folder)
                (void) closedir(folder);
        return count;
}
