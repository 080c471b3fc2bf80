/*
 * A broker's life as a process. First start, start after a crash, after an upgrade and under
 * systemd are one way: take what is given, find the configuration in force, put the broker together
 * from both, and say that it serves once all that is new has been kept.
 */
#include "fdpassd/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/component_table.h"
#include "config/config.h"
#include "config/kept_config.h"
#include "control/control.h"
#include "core/heap.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/notify.h"
#include "core/slice.h"
#include "fdpassd/assemble.h"
#include "fdpassd/lost.h"
#include "fdpassd/upgrade.h"
#include "keeper/handover.h"
#include "keeper/keeper.h"
#include "keeper/link.h"
#include "keeper/memory.h"
#include "sockets/listener_table.h"

struct daemon {
        const struct options *options;
        char **argv;
        struct loop *loop;
        struct log *log;
        struct notify notify;
        struct broker *broker;
        char *executable; /* the path from which we were started */
        bool upgraded;    /* by an exec in place */
        bool stopping;    /* by a signal, which may come while the start waits for offers */
        bool told, told_by_terminal;
        int signal_fd;
        struct io_watch signal_watch;
};

/* ---- signals ----------------------------------------------------------------------------------*/

static void reload(struct daemon *d) {
        (void) notify_send("RELOADING=1");
        control_reload(d->broker);
        (void) notify_send("READY=1");
}

/* With systemd's fd store the next start finds them again; without, nobody would. */
static bool stops_components(const struct daemon *d) {
        const struct broker_config *c = &d->broker->config->broker;

        if (c->has_stop_components)
                return c->stop_components;
        return !d->broker->memory || !memory_outlives_us(d->broker->memory);
}

static void end_loop(void *owner) {
        struct daemon *d = owner;

        loop_stop(d->loop);
}

/*
 * The first signal lets components finish what they accepted; the next one does not. Ctrl-C comes
 * twice, which is once: from the terminal, and from the keeper, which the terminal told as well.
 */
static void end(struct daemon *d, bool by_terminal) {
        bool *told = by_terminal ? &d->told_by_terminal : &d->told;
        bool again = *told, first = !d->stopping;

        d->stopping = *told = true;
        if (!d->broker || !stops_components(d)) {
                loop_stop(d->loop);
        } else if (again) {
                component_table_kill_all(d->broker->components);
        } else if (first) {
                if (d->broker->memory)
                        memory_say_ending(d->broker->memory);
                component_table_stop_all(d->broker->components, end_loop, d);
        }
}

static void on_signal(void *owner, int events) {
        struct daemon *d = owner;
        struct signalfd_siginfo info;

        while (read(d->signal_fd, &info, sizeof(info)) == sizeof(info)) {
                if (info.ssi_signo == SIGHUP) {
                        /* While it starts there is nothing to load again. */
                        if (d->broker)
                                reload(d);
                        continue;
                }
                log_notice(d->log, ABOUT(.pid = (pid_t) info.ssi_pid), "ending by SIG%s",
                           sigabbrev_np((int) info.ssi_signo));
                (void) notify_send("STOPPING=1");
                end(d, info.ssi_code == SI_KERNEL);
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
        (void) signal(SIGXFSZ, SIG_IGN); /* beyond RLIMIT_FSIZE writing fails, a memfd's too */
        if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
                return -errno;
        d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (d->signal_fd < 0)
                return -errno;
        io_watch_start(&d->signal_watch, d->loop, d->signal_fd, IO_READ, on_signal, d);
        return 0;
}

/* ---- start ------------------------------------------------------------------------------------*/

static int new_keeper(void *owner, int *ret_pidfd) {
        struct daemon *d = owner;
        int pidfd, r = keeper_start(d->argv, &pidfd);

        if (r < 0) {
                log_error(d->log, NULL,
                          "the keeper died and no other can be started: %s; trying again",
                          strerror(-r));
                return r;
        }
        log_warning(d->log, NULL, "the keeper died; another one was started");
        *ret_pidfd = fcntl(pidfd, F_DUPFD_CLOEXEC, 3);
        loop_put_child(d->loop, pidfd);
        return r;
}

static int take_given(struct daemon *d, int link_fd, struct inherited **ret) {
        int r;

        r = inherited_new(ret);
        if (r < 0)
                return r;
        r = handover_take(*ret);
        if (r != 0) {
                d->upgraded = r > 0;
                if (r < 0) {
                        log_error(d->log, NULL, "cannot take what was passed over the upgrade: %s",
                                  strerror(-r));
                        inherited_free(*ret);
                }
                return r < 0 ? r : 0;
        }
        if (link_fd < 0) {
                inherited_free(*ret);
                return inherited_from_environment(ret, d->log);
        }
        r = link_receive_kept(link_fd, *ret);
        if (r < 0) {
                log_error(d->log, NULL, "cannot receive what the keeper keeps: %s", strerror(-r));
                inherited_free(*ret);
        }
        return r;
}

static int make_memory(struct daemon *d, enum fd_store_kind store, int link_fd,
                       struct broker_parts *parts) {
        int r = take_given(d, link_fd, &parts->inherited);

        if (r < 0) {
                close_fd(link_fd);
                return r;
        }
        if (store == FD_STORE_NONE)
                return 0;
        r = memory_new(&parts->memory, store, link_fd, parts->inherited, d->loop, d->log);
        if (r < 0) {
                log_error(d->log, NULL, "cannot use the fd store: %s", strerror(-r));
                inherited_free(parts->inherited);
                return r;
        }
        memory_set_keeper(parts->memory, new_keeper, d);
        return 0;
}

/* What was kept has no record: what is in force is among it, without its name. */
static bool load_lost(struct daemon *d, struct broker_parts *parts) {
        if (!parts->memory || !memory_is_lost(parts->memory) ||
            memory_first(parts->memory, KEPT_CONFIG_KIND) ||
            lost_find_config(parts->inherited, d->log, &parts->config) < 0)
                return false;
        log_notice(d->log, NULL,
                   "the configuration that was in force is known by its descriptor; it stays in "
                   "force until `fdpass apply`");
        return true;
}

/* The files are wrong, too: rather no listeners for now than nobody who keeps and explains. */
static int load_nothing(struct daemon *d, struct broker_parts *parts) {
        int r;

        if (!parts->memory || !memory_is_lost(parts->memory))
                return -ENOENT;
        r = lost_make_config(parts->inherited, d->log, &parts->config);
        if (r == 0)
                log_error(d->log, NULL,
                          "neither the state document nor the configuration can be used: all kept "
                          "sockets stay open and are lent to nobody until the configuration is "
                          "corrected and `fdpass apply` has been run");
        return r;
}

static int load(struct daemon *d, struct broker_parts *parts) {
        struct diagnostics diagnostics = {0};
        const char *path = parts->config_path;
        int r;

        if (load_lost(d, parts))
                r = 0;
        else if (parts->memory)
                r = kept_config_load(parts->memory, path, &diagnostics, d->log, &parts->config,
                                     &parts->config_fd);
        else
                r = config_load(path, &diagnostics, &parts->config);
        parts->config_is_kept = r > 0;
        diagnostics_log(&diagnostics, d->log);
        if (r < 0)
                log_error(d->log, NULL, "the configuration %s cannot be used: %zu error%s", path,
                          diagnostics.errors, diagnostics.errors == 1 ? "" : "s");
        if (r < 0 && load_nothing(d, parts) == 0)
                r = 0;
        if (r >= 0 && !d->options->has_log_level && parts->config->broker.has_log_level)
                log_set_level(d->log, parts->config->broker.log_level);
        diagnostics_clear(&diagnostics);
        return r;
}

/* Only one that serves is what the keeper starts when it dies. */
static void say_executable(struct daemon *d) {
        _cleanup_close_ int fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);

        if (fd < 0)
                log_warning(d->log, NULL,
                            "the keeper cannot be told our program: %s; it would start the one "
                            "before",
                            strerror(errno));
        else
                memory_say_executable(d->broker->memory, fd);
        if (d->upgraded)
                log_notice(d->log, NULL, "upgraded in place: this is fdpassd " FDPASS_VERSION);
}

/* All that is new has been kept: from now on nothing can be lost. */
static void on_settled(void *owner) {
        struct daemon *d = owner;
        char ready[128];

        if (d->broker->memory) {
                say_executable(d);
                memory_say_ready(d->broker->memory);
                if (d->upgraded)
                        memory_say_exec(d->broker->memory);
        }
        heap_trim();     /* nothing waits to be sent to the fd store any more */
        (void) alarm(0); /* set by the one whom we replaced, see upgrade.h */
        (void) snprintf(ready, sizeof(ready), "READY=1\nSTATUS=holding %zu listeners",
                        listener_table_count(d->broker->listeners));
        (void) notify_send(ready);
}

static int execute(void *process, int executable_fd, const char *version) {
        struct daemon *d = process;
        char status[128];
        int r;

        (void) snprintf(status, sizeof(status), "RELOADING=1\nSTATUS=upgrading to %s", version);
        (void) notify_send(status);
        r = upgrade_execute(d->broker, executable_fd, d->argv);
        (void) notify_send("READY=1"); /* the one before, still */
        return r;
}

static enum exit_status start(struct daemon *d, enum fd_store_kind store, int link_fd) {
        _cleanup_free_ char *default_path = NULL;
        struct broker_parts parts = {.config_path = d->options->config_path, .config_fd = -1};
        int r;

        if (!parts.config_path)
                parts.config_path = default_path = config_default_path();
        if (!parts.config_path) {
                log_error(d->log, NULL,
                          "no configuration: neither $XDG_CONFIG_HOME nor $HOME is set; use "
                          "--config FILE");
                close_fd(link_fd);
                return EXIT_STATUS_CONFIG;
        }
        if (make_memory(d, store, link_fd, &parts) < 0)
                return EXIT_STATUS_FAILED;
        if (load(d, &parts) < 0) {
                inherited_free(parts.inherited);
                memory_free(parts.memory);
                return EXIT_STATUS_CONFIG;
        }
        r = broker_new(&d->broker, d->loop, d->log, &parts);
        if (r == -EALREADY) {
                (void) notify_send("READY=1");
                d->stopping = true; /* the keeper serves another broker; this one was to find it */
        }
        if (r < 0 && d->stopping)
                return EXIT_STATUS_OK;
        if (r < 0)
                return r == -EADDRINUSE ? EXIT_STATUS_RUNNING : EXIT_STATUS_FAILED;
        if (d->upgraded)
                upgrade_adopt_children(d->broker);
        d->broker->log_level_is_fixed = d->options->has_log_level;
        d->broker->executable = d->executable;
        d->broker->execute = execute;
        d->broker->process = d;
        notify_start(&d->notify, d->loop);
        if (!d->broker->memory || memory_barrier(d->broker->memory, on_settled, d) < 0)
                on_settled(d);
        return EXIT_STATUS_OK;
}

static void stop(struct daemon *d) {
        if (d->broker && d->broker->memory) {
                memory_say_stopping(d->broker->memory);
                kept_config_remove(d->broker->memory, &d->broker->config_fd);
        }
        broker_free(d->broker);
        notify_stop(&d->notify);
        io_watch_stop(&d->signal_watch);
        d->signal_fd = close_fd(d->signal_fd);
        loop_free(d->loop);
        free(d->executable);
}

enum exit_status daemon_run(const struct options *options, struct log *log, char **argv,
                            enum fd_store_kind store, int link_fd) {
        struct daemon d = {.options = options, .argv = argv, .log = log, .signal_fd = -1};
        enum exit_status status = EXIT_STATUS_FAILED;
        int r = loop_new(&d.loop);

        d.executable = upgrade_own_path(argv[0]);
        slice_shorten();
        if (r == 0)
                r = catch_signals(&d);
        if (r < 0) {
                log_error(log, NULL, "cannot start: %s", strerror(-r));
                close_fd(link_fd);
        } else {
                status = start(&d, store, link_fd);
        }
        if (status == EXIT_STATUS_OK && !d.stopping)
                loop_run(d.loop);
        stop(&d);
        return status;
}
