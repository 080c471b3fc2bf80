/* The processes of a tree that has no cgroup; for process_tree.c. */
#ifndef COMPONENTS_PROCESS_GROUP_H
#define COMPONENTS_PROCESS_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * A signal to all of the group; 0: is there anyone? Zombies count. 0, -ESRCH, -EPERM (there is
 * someone, whom we may not signal). leader_fd: pidfd of its leader, alive or not.
 */
int process_group_signal(pid_t group, int leader_fd, uint64_t leader_start_time, int signal);
/*
 * The same by number, for kernels that cannot do it by pidfd (before 6.9). -ESRCH also when the
 * number belongs to another process now.
 */
int process_group_signal_by_number(pid_t group, int leader_fd, uint64_t leader_start_time,
                                   int signal);

/* Its living processes, at most max; their number. Reads all of /proc: for disposable children. */
size_t process_group_pids(pid_t group, pid_t *ret, size_t max);

#endif
