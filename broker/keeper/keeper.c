/*
 * The keeper. One poll(2) loop over signals, the link to the broker and the broker's pidfd. Its
 * memory is a table of descriptors by id; it never looks into any of them. What the broker says to
 * it is in keeper_words.c.
 */
#include "keeper/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/inherited.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/process.h"
#include "keeper/charge.h"
#include "keeper/handover.h"
#include "keeper/keeper_private.h"
#include "keeper/link.h"

/* A broker that dies at once again and again is started at these intervals. */
#define RESTART_MIN_USEC 10000
#define RESTART_MAX_USEC 2000000
/* One that served before it died: clients wait for the next. */
#define RESTART_MAX_SERVED_USEC 100000
/* One that lived for so long did not die at once. */
#define RESTART_FORGET_USEC 10000000
/* A broker with very many descriptors takes its time to die. */
#define ORPHANED_USEC 10000000
/* Of brokers that are started only to finish an end, as many may die of it. */
#define FINISHERS_MAX 5
/* A SIGHUP this short before may not have reached the one that died: the next one gets it. */
#define APPLY_AGAIN_USEC 3000000

/* ---- handing over what is kept -----------------------------------------------------------------
 */

/* Nothing tells when the descriptors in flight are fewer again, so that is asked for by time. */
static bool must_wait(struct keeper *k, int r) {
        k->too_many = r == -ETOOMANYREFS || r == -ENOBUFS;
        return r == -EAGAIN || k->too_many;
}

/* What the keeper itself was given: names of any length, so one a packet. False: queue full. */
static bool hand_over_inherited(struct keeper *k) {
        while (k->inherited && k->n_sent_inherited < inherited_count(k->inherited)) {
                int fd = inherited_peek_fd(k->inherited, k->n_sent_inherited), r;

                packet_begin(&k->writer);
                packet_add(&k->writer, "FDNAMES",
                           inherited_name(k->inherited, k->n_sent_inherited));
                r = message_send(k->link_fd, k->writer.data, k->writer.size, &fd, 1);
                if (must_wait(k, r))
                        return false;
                k->n_sent_inherited++;
        }
        return true;
}

/* What the broker needs to end us when a keeper from outside comes. */
static int hand_over_ourselves(struct keeper *k) {
        _cleanup_close_ int self = process_open(getpid());

        if (self < 0)
                return 0; /* then that one is told that there is one already */
        packet_begin(&k->writer);
        packet_add(&k->writer, "FDNAMES", LINK_MADE_KEEPER);
        return message_send(k->link_fd, k->writer.data, k->writer.size, &self, 1);
}

/* As many as the queue takes; poll(2) tells when it takes more. */
static void hand_over(struct keeper *k) {
        while (k->handing_over && k->link_fd >= 0 && hand_over_inherited(k)) {
                char names[LINK_BATCH_MAX * STATE_ID_SIZE];
                int fds[LINK_BATCH_MAX], r;
                size_t n = 0, size = 0;
                struct kept *e = k->next_sent;

                for (; e && n < LINK_BATCH_MAX; e = e->hh.next) {
                        size += (size_t) sprintf(names + size, "%s%s", n ? ":" : "", e->id);
                        fds[n++] = e->fd;
                }
                if (n == 0 && k->made && must_wait(k, hand_over_ourselves(k)))
                        return;
                packet_begin(&k->writer);
                if (n > 0)
                        packet_add_text(&k->writer, "FDNAMES", (struct text){names, size});
                else
                        packet_add(&k->writer, "END", "1");
                r = message_send(k->link_fd, k->writer.data, k->writer.size, fds, n);
                if (must_wait(k, r))
                        return;
                if (r < 0)
                        log_error(k->log, NULL, "cannot hand %zu descriptors to the broker: %s", n,
                                  strerror(-r));
                k->next_sent = e;
                k->handing_over = r == 0 && n > 0;
        }
}

/* ---- the broker's life -------------------------------------------------------------------------
 */

static _Noreturn void be_broker(struct keeper *k, int link_fd) {
        handover_pass_fd(KEEPER_LINK_ENV, link_fd);
        (void) fexecve(k->executable_fd, k->options->argv, environ);
        log_error(k->log, NULL, "cannot execute the broker: %s", strerror(errno));
        _exit(EXIT_FAILURE);
}

static int start_broker(struct keeper *k) {
        _cleanup_close_ int broker_end = -1;
        pid_t pid;
        int r;

        k->start_usec = 0;
        k->is_ready = false;
        k->gives_nothing = !k->kept;
        k->started_usec = loop_now_usec();
        r = link_new(&k->link_fd, &broker_end);
        if (r < 0)
                return r;
        pid = process_fork(&k->broker_fd);
        if (pid == 0)
                be_broker(k, broker_end);
        if (pid < 0) {
                r = -errno;
                k->link_fd = close_fd(k->link_fd);
                return r;
        }
        if (k->apply_usec && k->started_usec - k->apply_usec < APPLY_AGAIN_USEC)
                (void) pidfd_send_signal(k->broker_fd, SIGHUP, NULL, 0);
        k->apply_usec = 0;
        if (k->told_to_end) {
                k->n_finishers++;
                (void) pidfd_send_signal(k->broker_fd, SIGTERM, NULL, 0);
        }
        k->next_sent = k->kept;
        k->n_sent_inherited = 0;
        k->handing_over = true;
        hand_over(k);
        return 0;
}

static void start_broker_later(struct keeper *k) {
        uint64_t max = k->is_ready ? RESTART_MAX_SERVED_USEC : RESTART_MAX_USEC;
        uint64_t now = loop_now_usec();

        if (now - k->started_usec > RESTART_FORGET_USEC)
                k->interval_usec = 0;
        /* The first time at once: that is what 50 ms to answering again are for. */
        if (k->interval_usec > max)
                k->interval_usec = max;
        k->start_usec = now + k->interval_usec;
        k->interval_usec = k->interval_usec ? 2 * k->interval_usec : RESTART_MIN_USEC;
}

/* The status of a child; of a broker that another keeper had started it is unknown: -1. */
static int collect_broker(struct keeper *k) {
        siginfo_t info = {0};
        int status = -1;

        if (waitid(P_PIDFD, (id_t) k->broker_fd, &info, WEXITED | WNOHANG) == 0 && info.si_pid)
                status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
        k->broker_fd = close_fd(k->broker_fd);
        return status;
}

/* By its pidfd: a keeper that came through an upgrade never heard the number. */
static bool is_broker(const struct keeper *k, pid_t pid) {
        siginfo_t info = {0};

        return k->broker_fd >= 0 &&
               waitid(P_PIDFD, (id_t) k->broker_fd, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
               info.si_pid == pid;
}

/* As PID 1 of a container we inherit every orphan. The broker itself is collected by its pidfd. */
void keeper_reap(struct keeper *k) {
        siginfo_t info;

        for (;;) {
                info.si_pid = 0;
                if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
                        return;
                if (is_broker(k, info.si_pid))
                        return;
                (void) waitid(P_PID, (id_t) info.si_pid, &info, WEXITED | WNOHANG);
        }
}

/*
 * Is there something for another broker to finish, when one dies that was told to end? It may not
 * even have heard of it, or have been at stopping components, which go on without it.
 */
static bool is_unfinished(const struct keeper *k) {
        return k->told_to_end && !k->stopping && !k->waits && k->kept &&
               k->n_finishers < FINISHERS_MAX;
}

/*
 * Did another have the lock, and ours nothing to serve? A broker that made us and was killed at
 * once gave us nothing, and whoever was started meanwhile is the broker: ours would find it again
 * and again. With something kept there is what only we have, and that other may end.
 */
static bool found_one_running(const struct keeper *k, int status) {
        return status == KEEPER_STATUS_RUNNING && k->gives_nothing && !k->is_ready;
}

/*
 * Is it the end of a broker that was told to end? With what status? Killed before it heard of it,
 * or by somebody who did not wait for it, it did end; what it died of by itself is told.
 */
static bool is_the_end(const struct keeper *k, int status, int *ret_status) {
        if ((status < 0 || status > 128) && is_unfinished(k))
                return false;
        if (!((status == 0 && !k->executing) || k->told_to_end ||
              (!k->was_ready && status > 0 && status < 128) || found_one_running(k, status)))
                return false;
        *ret_status = status;
        if (status < 0 || status == 128 + SIGKILL || (status > 128 && !k->stopping))
                *ret_status = EXIT_SUCCESS;
        return true;
}

/* True when the keeper is to end too, with *ret_status. */
static bool broker_ended(struct keeper *k, int *ret_status) {
        int status, ended_fd = k->broker_fd;

        keeper_read_link(k); /* what it stored last counts */
        if (k->broker_fd != ended_fd)
                return false; /* it was a broker that found one running, see on_broker() */
        k->link_fd = close_fd(k->link_fd);
        k->handing_over = false;
        status = collect_broker(k);
        keeper_reap(k);
        if (is_the_end(k, status, ret_status)) {
                if (k->n_finishers == FINISHERS_MAX && !k->stopping && status != 0) {
                        log_error(k->log, NULL,
                                  "the broker died again and again while it ended; components may "
                                  "be left running");
                        *ret_status = EXIT_FAILURE;
                }
                return true;
        }
        if (k->waits) {
                log_error(k->log, NULL,
                          "the broker died before this fdpassd was its keeper; the one that it had "
                          "starts it again: start fdpassd again");
                *ret_status = EXIT_FAILURE;
                return true;
        }
        if (!charge_draw(&k->charge_fd)) {
                log_error(k->log, NULL,
                          "the broker died, and another fdpassd that keeps for it starts it again: "
                          "this one ends");
                *ret_status = EXIT_FAILURE;
                return true;
        }
        k->executing = false;
        start_broker_later(k);
        if (status < 0)
                log_warning(k->log, NULL, "the broker died; starting it again with %u descriptors",
                            HASH_COUNT(k->kept));
        else if (status >= 128)
                log_warning(k->log, NULL,
                            "the broker died of SIG%s; starting it again with %u descriptors",
                            sigabbrev_np(status - 128), HASH_COUNT(k->kept));
        else
                log_warning(k->log, NULL,
                            "the broker exited with %d; starting it again with %u descriptors",
                            status, HASH_COUNT(k->kept));
        return false;
}

/* ---- signals -----------------------------------------------------------------------------------
 */

static void hear_of_the_end(struct keeper *k) {
        k->told_again = k->told_to_end;
        k->told_to_end = true;
        if (k->start_usec) /* between two brokers: the next one at once */
                k->start_usec = loop_now_usec();
}

static void handle_signals(struct keeper *k) {
        struct signalfd_siginfo info;

        while (read(k->signal_fd, &info, sizeof(info)) == sizeof(info)) {
                int number = (int) info.ssi_signo;
                if (number == SIGCHLD) {
                        keeper_reap(k);
                        continue;
                }
                if (number == SIGTERM || number == SIGINT)
                        hear_of_the_end(k);
                /* A terminal sends its own to both of us, which the broker knows. */
                if (k->broker_fd >= 0)
                        (void) pidfd_send_signal(k->broker_fd, number, NULL, 0);
                if (number == SIGHUP)
                        k->apply_usec = loop_now_usec();
        }
}

static const int forwarded[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};

static int catch_signals(struct keeper *k) {
        sigset_t set;

        (void) sigemptyset(&set);
        for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++)
                (void) sigaddset(&set, forwarded[i]);
        (void) sigaddset(&set, SIGCHLD);
        (void) signal(SIGPIPE, SIG_IGN);
        (void) signal(SIGXFSZ, SIG_IGN); /* a log that is a file beyond RLIMIT_FSIZE */
        if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
                return -errno;
        k->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return k->signal_fd < 0 ? -errno : 0;
}

/* ---- the loop ----------------------------------------------------------------------------------
 */

/* What to wait for by time: the next start, or the end of a broker that has hung up on us. */
static int time_left(const struct keeper *k) {
        uint64_t now = loop_now_usec();
        uint64_t until = k->start_usec ? k->start_usec : k->orphaned_usec;

        if (k->handing_over && k->too_many)
                return 1;
        if (until == 0)
                return -1;
        return now >= until ? 0 : (int) ((until - now) / 1000) + 1;
}

/*
 * A broker that dies hangs up a little before its pidfd tells. One that lives on without us has
 * another keeper, and two of them would start two brokers.
 */
static bool is_superfluous(struct keeper *k) {
        if (k->link_fd >= 0 || k->broker_fd < 0) {
                k->orphaned_usec = 0;
                return false;
        }
        if (k->orphaned_usec == 0)
                k->orphaned_usec = loop_now_usec() + ORPHANED_USEC;
        if (loop_now_usec() < k->orphaned_usec)
                return false;
        log_error(k->log, NULL, "the broker hung up on its keeper and lives on; the keeper ends");
        return true;
}

static int run(struct keeper *k) {
        int status = EXIT_FAILURE;

        for (;;) {
                struct pollfd p[] = {
                        {.fd = k->signal_fd, .events = POLLIN},
                        {.fd = k->link_fd,
                         .events = (short) (POLLIN |
                                            (k->handing_over && !k->too_many ? POLLOUT : 0))},
                        {.fd = k->broker_fd, .events = POLLIN},
                };

                if (poll(p, 3, time_left(k)) < 0 && errno != EINTR)
                        return EXIT_FAILURE;
                if (p[0].revents)
                        handle_signals(k);
                if (p[1].revents)
                        keeper_read_link(k);
                hand_over(k);
                /* Not when it is another one meanwhile. */
                if (p[2].revents && p[2].fd == k->broker_fd && broker_ended(k, &status))
                        return status;
                if (k->told_to_end && k->broker_fd < 0 && !is_unfinished(k))
                        return EXIT_SUCCESS;
                if (k->start_usec != 0 && time_left(k) == 0) {
                        int r = start_broker(k);
                        if (r < 0) {
                                log_error(k->log, NULL, "cannot start the broker: %s; trying again",
                                          strerror(-r));
                                start_broker_later(k);
                        }
                }
                if (is_superfluous(k))
                        return EXIT_FAILURE;
        }
}

static void clear(struct keeper *k) {
        inherited_free(k->inherited);
        while (k->kept)
                keeper_drop(k, k->kept);
        close_fd(k->link_fd);
        close_fd(k->broker_fd);
        close_fd(k->charge_fd);
        close_fd(k->signal_fd);
        close_fd(k->executable_fd);
        free(k);
}

static struct keeper *keeper_new(const struct keeper_options *options) {
        struct keeper *k = calloc(1, sizeof(*k));

        if (!k)
                return NULL;
        k->options = options;
        k->log = options->log;
        k->signal_fd = k->charge_fd = -1;
        k->link_fd = options->link_fd;
        k->broker_fd = options->broker_fd;
        k->was_ready = k->broker_fd >= 0; /* it lives and made us: it has served */
        k->inherited = options->inherited;
        k->executable_fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);
        return k;
}

int keeper_run(const struct keeper_options *options) {
        struct keeper *k = keeper_new(options);
        int r, status = EXIT_FAILURE;

        if (!k)
                return EXIT_FAILURE;
        (void) limits_raise_nofile();
        /* What a broker that dies leaves, components and what they forked, is ours to collect. */
        (void) prctl(PR_SET_CHILD_SUBREAPER, 1);
        r = k->executable_fd < 0 ? -errno : catch_signals(k);
        if (r == 0 && k->broker_fd < 0)
                r = start_broker(k);
        else if (r == 0)
                keeper_take_over(k);
        if (r == 0)
                status = run(k);
        else
                log_error(k->log, NULL, "cannot start: %s", strerror(-r));
        clear(k);
        return status;
}
