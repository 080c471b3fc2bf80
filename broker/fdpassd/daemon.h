/* The broker as a process: what is given to it at start, signals, the service manager, the end. */
#ifndef FDPASSD_DAEMON_H
#define FDPASSD_DAEMON_H

#include "fdpassd/options.h"
#include "keeper/fd_store.h"
#include "keeper/keeper.h"

/* Documented in fdpassd(8). */
enum exit_status {
        EXIT_STATUS_OK = 0,
        EXIT_STATUS_FAILED = 1,
        EXIT_STATUS_USAGE = 2,
        EXIT_STATUS_CONFIG = 3,
        EXIT_STATUS_RUNNING = KEEPER_STATUS_RUNNING,
};

/*
 * Run a broker until SIGTERM. `store` says where its descriptors outlive it; link_fd is its end of
 * the link to the keeper (taken; -1 with another store). argv is with what a second keeper is
 * started.
 */
enum exit_status daemon_run(const struct options *options, struct log *log, char **argv,
                            enum fd_store_kind store, int link_fd);

#endif
