/*
 * The keeper. One poll(2) loop over signals, the link to the broker and the broker's pidfd. Its
 * memory is a table of descriptors by id; it never looks into any of them.
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
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/process.h"
#include "keeper/handover.h"
#include "keeper/kept.h"
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
/* A SIGHUP this short before may not have reached the one that died: the next one gets it. */
#define APPLY_AGAIN_USEC 3000000

struct keeper {
        const struct keeper_options *options;
        struct log *log;
        int executable_fd;
        int signal_fd;
        int link_fd;       /* to the broker; -1 between two brokers */
        int broker_fd;     /* its pidfd; -1 between two brokers */
        bool is_ready;     /* the broker serves */
        bool executing;    /* the broker became a program that is not ready yet */
        bool was_ready;    /* some broker served: from now on never give up */
        bool told_to_end;  /* SIGTERM or SIGINT went to the broker */
        bool handing_over; /* kept descriptors are being sent */
        bool too_many;     /* in flight: the kernel does not tell when it takes more */
        bool stopping;     /* the broker said so */
        size_t n_sent_inherited;
        struct kept *next_sent;
        struct inherited *inherited; /* until some broker was ready; NULL then */
        uint64_t started_usec;       /* the broker */
        uint64_t start_usec;         /* when to start the next one; 0: not waiting */
        uint64_t interval_usec;
        uint64_t apply_usec;    /* the last SIGHUP */
        uint64_t orphaned_usec; /* when to end without a link to a living broker; 0: linked */
        struct kept *kept;
        struct message message;
        struct packet_writer writer;
};

/* ---- what is kept ------------------------------------------------------------------------------
 */

static void drop(struct keeper *k, struct kept *e) {
        if (k->next_sent == e)
                k->next_sent = e->hh.next;
        kept_remove(&k->kept, e);
}

/* Takes fd. */
static void keep(struct keeper *k, const char *id, int fd) {
        if (kept_put_fd(&k->kept, id, fd) < 0)
                log_error(k->log, NULL,
                          "no memory to keep descriptor %s: it is lost if the broker dies", id);
}

static bool copy_id(const struct text *name, char ret[STATE_ID_SIZE]) {
        if (!name || name->length == 0 || name->length >= STATE_ID_SIZE)
                return false;
        memcpy(ret, name->start, name->length);
        ret[name->length] = '\0';
        return true;
}

static void answer_barrier(struct keeper *k, struct text serial) {
        packet_begin(&k->writer);
        packet_add_text(&k->writer, "BARRIER", serial);
        /* Full only if the broker does not read: it is about to be found dead. */
        (void) message_send(k->link_fd, k->writer.data, k->writer.size, NULL, 0);
}

/* ---- an upgrade --------------------------------------------------------------------------------
 */

static int hand_over_to_ourselves(struct keeper *k, struct handover *h) {
        int r = 0;

        for (struct kept *e = k->kept; e && r == 0; e = e->hh.next)
                r = handover_add(h, e->id, e->fd);
        return r == 0 ? handover_pass(h) : r;
}

/*
 * Become the program that the broker has become: same process, same children, same descriptors, so
 * that whoever started us notices nothing. Signals that come meanwhile stay pending, being blocked.
 */
static void execute(struct keeper *k) {
        struct handover *h;
        int r = handover_new(&h);

        if (r == 0) {
                r = hand_over_to_ourselves(k, h);
                if (r == 0) {
                        handover_pass_fd(KEEPER_LINK_ENV, k->link_fd);
                        handover_pass_fd(KEEPER_BROKER_ENV, k->broker_fd);
                        (void) fexecve(k->executable_fd, k->options->argv, environ);
                        r = -errno;
                        (void) handover_take_fd(KEEPER_LINK_ENV);
                        (void) handover_take_fd(KEEPER_BROKER_ENV);
                        handover_undo(h);
                }
                handover_free(h);
        }
        log_error(k->log, NULL, "the keeper cannot be upgraded: %s; it goes on as it is",
                  strerror(-r));
}

/* The other side of it. Nothing of what is kept may be lost, so what fails is only logged. */
static void take_over(struct keeper *k) {
        struct inherited *passed;
        int r;

        if (inherited_new(&passed) < 0)
                return;
        r = handover_take(passed);
        if (r < 0)
                log_error(k->log, NULL, "not all descriptors came through the upgrade");
        k->is_ready = r != 0; /* else we are a second keeper, and it is going to say so */
        while (inherited_count(passed) > 0) {
                char id[STATE_ID_SIZE];
                size_t last = inherited_count(passed) - 1;
                int fd;

                (void) snprintf(id, sizeof(id), "%s", inherited_name(passed, last));
                fd = inherited_take_fd(passed, last);
                keep(k, id, fd);
        }
        inherited_free(passed);
}

/* ---- what the broker says: keeper/link.h ------------------------------------------------------*/

static void on_barrier(struct keeper *k, const struct assignments *a) {
        answer_barrier(k, *assignments_get(a, "BARRIER"));
}

static void on_ready(struct keeper *k, const struct assignments *a) {
        k->was_ready = k->is_ready = true;
        k->executing = false;
        /* It has stored what it wants of that, under ids. */
        k->inherited = inherited_free(k->inherited);
}

static void on_stopping(struct keeper *k, const struct assignments *a) {
        k->told_to_end = k->stopping = true;
}

static void on_executing(struct keeper *k, const struct assignments *a) {
        k->executing = true;
}

static void on_executable(struct keeper *k, const struct assignments *a) {
        if (k->message.fds.count != 1)
                return;
        close_fd(k->executable_fd);
        k->executable_fd = fd_list_take_fd(&k->message.fds, 0);
}

static void on_exec(struct keeper *k, const struct assignments *a) {
        execute(k);
}

static void on_remove(struct keeper *k, const struct assignments *a) {
        char id[STATE_ID_SIZE];
        struct kept *e;

        if (!copy_id(assignments_get(a, "FDNAME"), id))
                return;
        e = kept_find(k->kept, id);
        if (e)
                drop(k, e);
}

static void on_store(struct keeper *k, const struct assignments *a) {
        char id[STATE_ID_SIZE];

        if (copy_id(assignments_get(a, "FDNAME"), id) && k->message.fds.count == 1)
                keep(k, id, fd_list_take_fd(&k->message.fds, 0));
}

static const struct word {
        const char *key;
        void (*handle)(struct keeper *k, const struct assignments *a);
} words[] = {
        {"BARRIER", on_barrier},      {"READY", on_ready},           {"STOPPING", on_stopping},
        {"EXECUTING", on_executing},  {"EXECUTABLE", on_executable}, {"EXEC", on_exec},
        {"FDSTOREREMOVE", on_remove}, {"FDSTORE", on_store},
};

static void handle_packet(struct keeper *k) {
        struct assignments a;

        if (grammar_parse(k->message.data, k->message.size, &a) < 0)
                return;
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                if (assignments_get(&a, words[i].key)) {
                        words[i].handle(k, &a);
                        return;
                }
}

/* Everything that is there: also what a broker sent before it died. */
static void read_link(struct keeper *k) {
        int r;

        while (k->link_fd >= 0 && (r = message_receive(k->link_fd, &k->message)) != -EAGAIN) {
                if (r > 0)
                        handle_packet(k);
                message_clear(&k->message);
                if (r == -EMFILE)
                        log_error(k->log, NULL,
                                  "out of descriptors: one that the broker stored is not kept; "
                                  "raise RLIMIT_NOFILE (ulimit -n)");
                else if (r <= 0)
                        k->link_fd = close_fd(k->link_fd);
        }
}

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
        k->started_usec = loop_now_usec();
        r = link_new(&k->link_fd, &broker_end);
        if (r < 0)
                return r;
        pid = fork();
        if (pid == 0)
                be_broker(k, broker_end);
        r = pid < 0 ? -errno : process_open(pid);
        if (r < 0) {
                if (pid > 0) {
                        (void) kill(pid,
                                    SIGKILL); /* a child that we have not reaped: surely ours */
                        (void) waitpid(pid, NULL, 0);
                }
                k->link_fd = close_fd(k->link_fd);
                return r;
        }
        k->broker_fd = r;
        if (k->apply_usec && k->started_usec - k->apply_usec < APPLY_AGAIN_USEC)
                (void) pidfd_send_signal(k->broker_fd, SIGHUP, NULL, 0);
        k->apply_usec = 0;
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
static void reap_orphans(struct keeper *k) {
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

/* True when the keeper is to end too, with *ret_status. */
static bool broker_ended(struct keeper *k, int *ret_status) {
        int status;

        read_link(k); /* what it stored last counts */
        k->link_fd = close_fd(k->link_fd);
        k->handing_over = false;
        status = collect_broker(k);
        reap_orphans(k);
        if ((status == 0 && !k->executing) || k->told_to_end ||
            (!k->was_ready && status > 0 && status < 128)) {
                /* Killed before it heard of it, it did end. */
                *ret_status = status < 0 || (status > 128 && !k->stopping) ? 0 : status;
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

static void handle_signals(struct keeper *k) {
        struct signalfd_siginfo info;

        while (read(k->signal_fd, &info, sizeof(info)) == sizeof(info)) {
                int number = (int) info.ssi_signo;
                if (number == SIGCHLD) {
                        reap_orphans(k);
                        continue;
                }
                if (number == SIGTERM || number == SIGINT)
                        k->told_to_end = true;
                /* A terminal sends SIGINT to both of us; twice is harmless. */
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
                        read_link(k);
                hand_over(k);
                if (p[2].revents && broker_ended(k, &status))
                        return status;
                if (k->start_usec != 0 && time_left(k) == 0 && !k->told_to_end) {
                        int r = start_broker(k);
                        if (r < 0) {
                                log_error(k->log, NULL, "cannot start the broker: %s; trying again",
                                          strerror(-r));
                                start_broker_later(k);
                        }
                }
                if (k->told_to_end && k->broker_fd < 0)
                        return EXIT_SUCCESS;
                if (is_superfluous(k))
                        return EXIT_FAILURE;
        }
}

static void raise_nofile(void) {
        struct rlimit r;

        if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
                r.rlim_cur = r.rlim_max;
                (void) setrlimit(RLIMIT_NOFILE, &r);
        }
}

static void clear(struct keeper *k) {
        inherited_free(k->inherited);
        while (k->kept)
                drop(k, k->kept);
        close_fd(k->link_fd);
        close_fd(k->broker_fd);
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
        k->signal_fd = -1;
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
        raise_nofile();
        r = k->executable_fd < 0 ? -errno : catch_signals(k);
        if (r == 0 && k->broker_fd < 0)
                r = start_broker(k);
        else if (r == 0)
                take_over(k);
        if (r == 0)
                status = run(k);
        else
                log_error(k->log, NULL, "cannot start: %s", strerror(-r));
        clear(k);
        return status;
}
