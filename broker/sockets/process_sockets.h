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

/*
 * The processes that have at least one of these sockets open, by the sockets' inodes. 0, or the
 * error of opening /proc.
 */
int process_sockets_find(const uint32_t *inodes, size_t n_inodes, struct socket_processes *ret);

#endif
