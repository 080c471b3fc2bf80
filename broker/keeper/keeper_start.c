/* A second keeper, started by the broker itself when it notices that its keeper is dead. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/process.h"
#include "keeper/handover.h"
#include "keeper/keeper.h"
#include "keeper/link.h"

int keeper_start(char **argv, int *ret_pidfd) {
        _cleanup_close_ int keeper_end = -1, broker_end = -1, self = process_open(getpid());
        pid_t pid;
        int r;

        if (self < 0)
                return self;
        r = link_new(&keeper_end, &broker_end);
        if (r < 0)
                return r;
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                handover_pass_fd(KEEPER_LINK_ENV, keeper_end);
                handover_pass_fd(KEEPER_BROKER_ENV, self);
                (void) execv("/proc/self/exe", argv);
                _exit(EXIT_FAILURE);
        }
        r = process_open(pid); /* not reaped yet: surely that one */
        if (r < 0)
                return r;
        *ret_pidfd = r;
        return take_fd(&broker_end);
}
