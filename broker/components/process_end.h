/* How a process ended, asked of the kernel by its pidfd; for process_tree.c. */
#ifndef COMPONENTS_PROCESS_END_H
#define COMPONENTS_PROCESS_END_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "components/process_tree.h"

/*
 * How the process of pidfd, which has ended, did so. Our own child is not collected yet: its pid,
 * and so the number of its group, stays its own. False: not to be known yet, because its parent has
 * not collected it; ask again. Where it is never to be known it is PROCESS_UNKNOWN.
 */
bool process_end_read(int pidfd, enum process_end *ret, int *ret_status);

/* Collect it if it is our child and has ended. */
void process_end_collect(int pidfd);

/* What /proc/PID/stat says of a process. */
struct process_stat {
        char state; /* 'Z': has ended and was not collected */
        pid_t parent, group;
        uint64_t start_time; /* in clock ticks since boot */
};

/* 0, or -ESRCH. Takes no lock that a stuck process could hold. */
int process_stat_read(pid_t pid, struct process_stat *ret);

#endif
