/* Facts about other processes, from the kernel. */
#ifndef CORE_PROCESS_H
#define CORE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PROCESS_NAME_SIZE 16 /* TASK_COMM_LEN, proc(5) */

/* pidfd_open(2), close-on-exec. The descriptor or -ESRCH, -EMFILE, … */
int process_open(pid_t pid);

/* As fork(2), with the child's pidfd, close-on-exec: where none is to be had there is no child. */
pid_t process_fork(int *ret_pidfd);

/* Has the process of this pidfd ended? 1, 0, or a negative errno. */
int process_has_ended(int pidfd);

/*
 * The program's name as /proc/PID/comm has it, "?" when it cannot be read. Unlike exe, cmdline or
 * fd/ this takes no lock that a stuck process could hold: it is safe in the loop.
 */
void process_name(pid_t pid, char ret[PROCESS_NAME_SIZE]);

/*
 * Would this signal end it: neither caught, ignored nor blocked (for sigwait(3), signalfd(2))?
 * False when that cannot be read, of /proc/PID/status, which takes no such lock either.
 */
bool process_would_die_of(pid_t pid, int number);

#endif
