/*
 * Which processes have a socket open: a look through /proc/PID/fd of every process. Takes 100 ms
 * and more on a busy machine, and can wait for a stuck process: never in the loop, but in a
 * disposable child (core/helper.h).
 */
#ifndef SOCKETS_PROCESS_SOCKETS_H
#define SOCKETS_PROCESS_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/process.h"

#define SOCKET_PROCESSES_MAX 8

struct socket_process {
        pid_t pid;
        bool has_uid;
        uid_t uid; /* the effective one */
        char name[PROCESS_NAME_SIZE];
};

struct socket_processes {
        size_t count;  /* of all; the first SOCKET_PROCESSES_MAX by pid are below */
        size_t hidden; /* processes that we may not look into */
        struct socket_process first[SOCKET_PROCESSES_MAX];
};

/* One descriptor of a socket in a process: FOLDER/ENTRY is its link in /proc; or, of one that has
 * none and is registered in an io_uring, that of the ring. */
struct process_socket {
        pid_t pid;
        uint32_t inode; /* 0: registered, and the kernel does not tell which one it is */
        int folder;
        const char *entry; /* its number */
};

/* Called for each; what is not 0 ends it all and is what the caller gets. */
typedef int process_socket_handler(void *owner, const struct process_socket *found);

/*
 * All sockets of one process, those that are registered in its io_urings as well: 0 (also when it
 * has ended), what the handler returned, or -EACCES.
 */
int process_sockets_of(pid_t pid, process_socket_handler *handler, void *owner);

/*
 * All descriptors of sockets of all processes that we may look into. 0, what the handler returned,
 * or the error of opening /proc.
 */
int process_sockets_walk(process_socket_handler *handler, void *owner);

/*
 * The processes that have at least one of these sockets open, by the sockets' inodes. 0, or the
 * error of opening /proc.
 */
int process_sockets_find(const uint32_t *inodes, size_t n_inodes, struct socket_processes *ret);

#endif
