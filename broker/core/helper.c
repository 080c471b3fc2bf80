/*
 * Disposable children. fork() is safe here because the broker has one thread; the child runs our
 * code without exec and leaves by _exit(), so that no atexit handler and no buffered stream of the
 * parent runs twice.
 *
 * The child is found to have ended by its pidfd, not by SIGCHLD: that signal belongs to the default
 * loop of libev, and several brokers may live in one process.
 */
#include "core/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/process.h"

static void finish(struct helper *h) {
        void (*done)(void *, const char *, size_t) = h->done;
        void *owner = h->owner;

        helper_cancel(h);
        h->result[h->size] = '\0';
        done(owner, h->result, h->size);
}

/* True while there may be more. */
static bool read_result(struct helper *h) {
        char rest[512];
        ssize_t n;

        for (;;) {
                bool full = h->size == HELPER_RESULT_MAX;
                n = read(h->pipe_fd, full ? rest : h->result + h->size,
                         full ? sizeof(rest) : HELPER_RESULT_MAX - h->size);
                if (n <= 0)
                        return n < 0 && (errno == EAGAIN || errno == EINTR);
                if (!full)
                        h->size += (size_t) n;
        }
}

static void on_pipe(void *owner, int events) {
        struct helper *h = owner;

        if (!read_result(h))
                io_watch_stop(&h->pipe_watch); /* its end is told by the pidfd */
}

static void on_ended(void *owner, int events) {
        struct helper *h = owner;

        (void) read_result(h);
        finish(h);
}

static void on_deadline(void *owner) {
        finish(owner); /* helper_cancel() kills */
}

void helper_begin(void) {
        struct sigaction by_default = {.sa_handler = SIG_DFL};
        sigset_t none;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int s = 1; s < NSIG; s++)
                (void) sigaction(s, &by_default, NULL);
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
}

int helper_start(struct helper *h, struct loop *loop, uint64_t deadline_usec,
                 void (*work)(void *argument, int result_fd), void *argument,
                 void (*done)(void *owner, const char *result, size_t size), void *owner) {
        int ends[2], pidfd;
        pid_t pid;

        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        pid = fork();
        if (pid == 0) {
                /* The writer may wait for room; only our end must not. */
                (void) fcntl(ends[1], F_SETFL, 0);
                (void) close(ends[0]);
                helper_begin();
                work(argument, ends[1]);
                _exit(0);
        }
        int fork_error = pid < 0 ? -errno : 0;
        close_fd(ends[1]);
        pidfd = pid > 0 ? process_open(pid) : fork_error;
        if (pidfd < 0) {
                if (pid > 0) {
                        (void) kill(pid, SIGKILL); /* not yet reaped: the pid is surely ours */
                        (void) waitpid(pid, NULL, 0);
                }
                close_fd(ends[0]);
                return pidfd;
        }
        memset(h, 0, sizeof(*h));
        h->loop = loop;
        h->pidfd = pidfd;
        h->pipe_fd = ends[0];
        h->done = done;
        h->owner = owner;
        io_watch_start(&h->pidfd_watch, loop, pidfd, IO_READ, on_ended, h);
        io_watch_start(&h->pipe_watch, loop, h->pipe_fd, IO_READ, on_pipe, h);
        timer_start(&h->deadline, loop, deadline_usec, on_deadline, h);
        return 0;
}

void helper_cancel(struct helper *h) {
        if (!h->loop)
                return;
        io_watch_stop(&h->pidfd_watch);
        io_watch_stop(&h->pipe_watch);
        timer_stop(&h->deadline);
        (void) pidfd_send_signal(h->pidfd, SIGKILL, NULL, 0);
        loop_put_child(h->loop, take_fd(&h->pidfd));
        h->pipe_fd = close_fd(h->pipe_fd);
        h->loop = NULL;
}
