/* What spawn.c and spawn_child.c share: the report of a child that could not exec. */
#ifndef COMPONENTS_SPAWN_PRIVATE_H
#define COMPONENTS_SPAWN_PRIVATE_H

#include "components/spawn.h"

#define SPAWN_WHAT_SIZE 512

/* One write, smaller than PIPE_BUF: it arrives whole or not at all. */
struct spawn_report {
        enum spawn_step step;
        int error; /* positive */
        char what[SPAWN_WHAT_SIZE];
};

/*
 * The child, from clone to exec. is_in_cgroup: it was born there. result_fd is close-on-exec and
 * ends with a successful exec; otherwise a report is written to it. hold_fd: a byte releases it,
 * the end of the pipe ends it; -1: it is not held.
 */
_Noreturn void spawn_child(const struct spawn *spawn, bool is_in_cgroup, int result_fd,
                           int hold_fd);

#endif
