/*
 * fdpassd: main(). The same program is broker and keeper; which one this process is to be is
 * decided here.
 *
 * What a user starts becomes the keeper and starts the broker as its child (KEEPER_LINK_ENV). Under
 * systemd its fd store does the keeper's work, and what is started is the broker. A broker whose
 * keeper died starts another one (KEEPER_BROKER_ENV).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/inherited.h"
#include "core/log.h"
#include "fdpassd/daemon.h"
#include "fdpassd/options.h"
#include "fdpassd/upgrade.h"
#include "keeper/handover.h"
#include "keeper/keeper.h"

/* Started with 0, 1 or 2 closed, the next socket would become "stderr" and be written to. */
static int open_standard_streams(void) {
        int fd;

        do {
                fd = open("/dev/null", O_RDWR | O_CLOEXEC);
                if (fd < 0)
                        return -errno;
        } while (fd <= STDERR_FILENO);
        close_fd(fd);
        return 0;
}

/* systemd names the process that it executed (SYSTEMD_EXEC_PID, since 248): is that us? */
static bool systemd_started_us(void) {
        const char *pid = getenv("SYSTEMD_EXEC_PID");

        return pid && strtol(pid, NULL, 10) == (long) getpid() && getenv("NOTIFY_SOCKET");
}

static int keep(struct log *log, char **argv, int link_fd, int broker_fd) {
        struct keeper_options options = {
                .argv = argv, .log = log, .link_fd = link_fd, .broker_fd = broker_fd};

        if (broker_fd < 0 && inherited_from_environment(&options.inherited, log) < 0)
                return EXIT_STATUS_FAILED;
        return keeper_run(&options);
}

static int choose(const struct options *options, struct log *log, char **argv) {
        if (options->check_upgrade)
                return upgrade_check(log);
        int link_fd = handover_take_fd(KEEPER_LINK_ENV),
            broker_fd = handover_take_fd(KEEPER_BROKER_ENV);

        if (broker_fd >= 0)
                return keep(log, argv, link_fd, broker_fd);
        if (link_fd >= 0)
                return (int) daemon_run(options, log, argv, FD_STORE_KEEPER, link_fd);
        if (options->keeper == KEEPER_NO)
                return (int) daemon_run(options, log, argv, FD_STORE_NONE, -1);
        if (options->keeper == KEEPER_AUTO && systemd_started_us())
                return (int) daemon_run(options, log, argv, FD_STORE_SYSTEMD, -1);
        return keep(log, argv, -1, -1);
}

int main(int argc, char *argv[]) {
        struct options options;
        struct log *log;
        int r;

        if (open_standard_streams() < 0)
                return EXIT_STATUS_FAILED;
        r = options_parse(argc, argv, &options);
        if (r != 0)
                return r < 0 ? EXIT_STATUS_USAGE : EXIT_STATUS_OK;
        if (log_new(&log, "fdpassd", options.check_upgrade ? LOG_TARGET_STDERR : options.log_target,
                    options.log_level) < 0)
                return EXIT_STATUS_FAILED;
        r = choose(&options, log, argv);
        log_free(log);
        return r;
}
