/*
 * fdpassd: main(). Options, log, configuration, signals; then the loop until SIGTERM.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "config/config.h"
#include "control/control.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/notify.h"
#include "fdpassd/assemble.h"
#include "fdpassd/options.h"
#include "sockets/listener_table.h"

/* Documented in fdpassd(8). */
enum exit_status {
        EXIT_STATUS_OK = 0,
        EXIT_STATUS_FAILED = 1,
        EXIT_STATUS_USAGE = 2,
        EXIT_STATUS_CONFIG = 3,
        EXIT_STATUS_RUNNING = 4,
};

struct daemon {
        struct loop *loop;
        struct log *log;
        struct notify notify;
        struct broker *broker;
        int signal_fd;
        struct io_watch signal_watch;
};

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

static void reload(struct daemon *d) {
        (void) notify_send("RELOADING=1");
        control_reload(d->broker);
        (void) notify_send("READY=1");
}

static void on_signal(void *owner, int events) {
        struct daemon *d = owner;
        struct signalfd_siginfo info;

        while (read(d->signal_fd, &info, sizeof(info)) == sizeof(info)) {
                if (info.ssi_signo == SIGHUP) {
                        reload(d);
                        continue;
                }
                log_notice(d->log, ABOUT(.pid = (pid_t) info.ssi_pid), "ending by SIG%s",
                           sigabbrev_np((int) info.ssi_signo));
                (void) notify_send("STOPPING=1");
                loop_stop(d->loop);
        }
}

/*
 * By signalfd, because a signal watcher of libev belongs to one loop of the whole process. SIGPIPE
 * is ignored for our own writes to stderr; children get their dispositions and mask reset.
 */
static int catch_signals(struct daemon *d) {
        sigset_t set;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        (void) sigaddset(&set, SIGINT);
        (void) sigaddset(&set, SIGHUP);
        (void) signal(SIGPIPE, SIG_IGN);
        if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
                return -errno;
        d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (d->signal_fd < 0)
                return -errno;
        io_watch_start(&d->signal_watch, d->loop, d->signal_fd, IO_READ, on_signal, d);
        return 0;
}

static int load(struct daemon *d, const char *path, struct config **ret) {
        struct diagnostics diagnostics = {0};
        int r = config_load(path, &diagnostics, ret);

        diagnostics_log(&diagnostics, d->log);
        if (r < 0)
                log_error(d->log, NULL,
                          "the configuration %s cannot be used: %zu error%s; `fdpass check %s` "
                          "shows %s",
                          path, diagnostics.errors, diagnostics.errors == 1 ? "" : "s", path,
                          diagnostics.errors == 1 ? "it" : "them");
        diagnostics_clear(&diagnostics);
        return r;
}

static enum exit_status start(struct daemon *d, const struct options *options) {
        _cleanup_free_ char *default_path = NULL;
        const char *path = options->config_path;
        struct inherited *inherited;
        struct config *config;
        char ready[128];
        int r;

        if (!path)
                path = default_path = config_default_path();
        if (!path) {
                log_error(d->log, NULL,
                          "no configuration: neither $XDG_CONFIG_HOME nor $HOME is set; "
                          "use --config FILE");
                return EXIT_STATUS_CONFIG;
        }
        if (load(d, path, &config) < 0)
                return EXIT_STATUS_CONFIG;
        if (!options->has_log_level && config->broker.has_log_level)
                log_set_level(d->log, config->broker.log_level);
        r = inherited_from_environment(&inherited, d->log);
        if (r < 0) {
                config_free(config);
                return EXIT_STATUS_FAILED;
        }
        r = broker_new(&d->broker, d->loop, d->log, path, config, inherited);
        if (r < 0)
                return r == -EADDRINUSE ? EXIT_STATUS_RUNNING : EXIT_STATUS_FAILED;
        notify_start(&d->notify, d->loop);
        (void) snprintf(ready, sizeof(ready), "READY=1\nSTATUS=holding %zu listeners",
                        listener_table_count(d->broker->listeners));
        (void) notify_send(ready);
        return EXIT_STATUS_OK;
}

static void stop(struct daemon *d) {
        broker_free(d->broker);
        notify_stop(&d->notify);
        io_watch_stop(&d->signal_watch);
        d->signal_fd = close_fd(d->signal_fd);
        loop_free(d->loop);
        log_free(d->log);
}

int main(int argc, char *argv[]) {
        struct daemon d = {.signal_fd = -1};
        enum exit_status status = EXIT_STATUS_FAILED;
        struct options options;
        int r;

        if (open_standard_streams() < 0)
                return EXIT_STATUS_FAILED;
        r = options_parse(argc, argv, &options);
        if (r != 0)
                return r < 0 ? EXIT_STATUS_USAGE : EXIT_STATUS_OK;
        if (log_new(&d.log, "fdpassd", options.log_target, options.log_level) < 0 ||
            loop_new(&d.loop) < 0 || catch_signals(&d) < 0)
                log_error(d.log, NULL, "cannot start: %s", strerror(errno));
        else
                status = start(&d, &options);
        if (status == EXIT_STATUS_OK)
                loop_run(d.loop);
        stop(&d);
        return status;
}
