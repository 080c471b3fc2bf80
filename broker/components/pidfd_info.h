/*
 * PIDFD_GET_INFO of <linux/pidfd.h>, in its first form (Linux 6.13; PIDFD_INFO_EXIT is of 6.15),
 * which later kernels take, too; the headers that we are built with may be older.
 */
#ifndef COMPONENTS_PIDFD_INFO_H
#define COMPONENTS_PIDFD_INFO_H

#include <stdint.h>
#include <sys/ioctl.h>

struct first_pidfd_info {
        uint64_t mask; /* what is asked for, and then what is told */
        uint64_t cgroup_id;
        uint32_t pid, tgid, ppid;
        uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
        int32_t exit_code; /* as wait(2) has it */
};

#define FIRST_PIDFD_GET_INFO _IOWR(0xFF, 11, struct first_pidfd_info)
#define FIRST_PIDFD_INFO_CGROUP (UINT64_C(1) << 2)
#define FIRST_PIDFD_INFO_EXIT (UINT64_C(1) << 3)

#endif
