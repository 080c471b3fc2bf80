/*
 * The few files of a cgroup v2 that a tree needs (cgroups(7), and the kernel's cgroup-v2.rst).
 * None of them blocks for longer than the kernel's own lock.
 */
#ifndef COMPONENTS_CGROUP_H
#define COMPONENTS_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "components/process_tree.h"

/* Make one below the root, called `name`, or that with a number when it is taken; *ret_fd is its
 * folder. 0 or -errno. */
int cgroup_make(const struct cgroup_root *root, const char *name, char ret_name[CGROUP_NAME_SIZE],
                int *ret_fd);
/*
 * The folder of one that was made, with this inode (0: any); or -errno, -ESTALE when it has gone
 * and another has the name. As that of cgroup_make() it is locked, flock(2), as long as it is open:
 * so other brokers know that one lives whose it is.
 */
int cgroup_open(const struct cgroup_root *root, const char *name, uint64_t inode);
/* For a look at one, or at one below it. Or -errno. */
int cgroup_open_unlocked(int parent_fd, const char *name);
/* Of one; no other will have it: kernfs counts them up, in 64 bits (Linux 5.5). */
uint64_t cgroup_inode(int cgroup_fd);
/* Remove it with what was made below it, as far as no process is in it. */
void cgroup_remove(const struct cgroup_root *root, const char *name);
/* The same, unless a living broker has it: for a name that is all that is known of it. */
void cgroup_remove_unheld(const struct cgroup_root *root, const char *name);

#define CGROUP_STALE_SECONDS 60
/*
 * Remove what brokers left below the root that are no more: what has the name of a place, nobody in
 * it or below, and no lock. Who is in one of health commands is killed. True: some of it was made
 * too lately, or is on its way out, and can go so much later.
 */
bool cgroup_remove_stale(const struct cgroup_root *root);

/* cgroup.events, to be polled for EPOLLPRI; or -errno. */
int cgroup_open_events(int cgroup_fd);
/* Is there a living process in it or below? Makes the next change readable. */
bool cgroup_is_populated(int events_fd);

/* SIGKILL to all in it and below, by the kernel at once (5.14). 0 or -errno. */
int cgroup_kill(int cgroup_fd);
/* Stop all in it, so that what is killed one by one cannot fork meanwhile. 0 or -errno. */
int cgroup_freeze(int cgroup_fd);

/* Its processes and those below, at most max; their number. */
size_t cgroup_pids(int cgroup_fd, pid_t *ret, size_t max);
/* Is the process in it or below? */
bool cgroup_has(const struct cgroup_root *root, const char *name, pid_t pid);

#endif
