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
#include <stdlib.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/process.h"

struct helper {
        struct io_watch pidfd_watch;
        struct io_watch pipe_watch;
        struct timer deadline;
        struct loop *loop;
        int pidfd;   /* owned */
        int pipe_fd; /* owned */
        size_t size;
        char result[CHILD_RESULT_MAX + 1];
        child_done *done;
        void *owner;
};

/* Nothing of it is left but its result. */
static void end(struct helper *h) {
        io_watch_stop(&h->pidfd_watch);
        io_watch_stop(&h->pipe_watch);
        timer_stop(&h->deadline);
        (void) pidfd_send_signal(h->pidfd, SIGKILL, NULL, 0);
        loop_put_child(h->loop, take_fd(&h->pidfd));
        h->pipe_fd = close_fd(h->pipe_fd);
}

static void finish(struct helper *h) {
        end(h);
        h->result[h->size] = '\0';
        h->done(h->owner, h->result, h->size);
        free(h);
}

/* True while there may be more. */
static bool read_result(struct helper *h) {
        char rest[512];
        ssize_t n;

        for (;;) {
                bool full = h->size == CHILD_RESULT_MAX;
                n = read(h->pipe_fd, full ? rest : h->result + h->size,
                         full ? sizeof(rest) : CHILD_RESULT_MAX - h->size);
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
        finish(owner);
}

static _Noreturn void be_child(int result_fd, int pipe_fd, void (*work)(void *, int),
                               void *argument) {
        /* The writer may wait for room; only our end must not. */
        (void) fcntl(result_fd, F_SETFL, 0);
        (void) close(pipe_fd);
        child_begin();
        work(argument, result_fd);
        _exit(0);
}

int helper_start(struct helper **ret, struct loop *loop, uint64_t deadline_usec,
                 void (*work)(void *argument, int result_fd), void *argument, child_done *done,
                 void *owner) {
        _cleanup_free_ struct helper *h = NULL;
        int ends[2];
        pid_t pid;

        if (*ret)
                return -EBUSY;
        h = calloc(1, sizeof(*h));
        if (!h)
                return -ENOMEM;
        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        pid = process_fork(&h->pidfd);
        if (pid == 0)
                be_child(ends[1], ends[0], work, argument);
        close_fd(ends[1]);
        if (pid < 0) {
                close_fd(ends[0]);
                return -errno;
        }
        h->loop = loop;
        h->pipe_fd = ends[0];
        h->done = done;
        h->owner = owner;
        io_watch_start(&h->pidfd_watch, loop, h->pidfd, IO_READ, on_ended, h);
        io_watch_start(&h->pipe_watch, loop, h->pipe_fd, IO_READ, on_pipe, h);
        deadline_start(&h->deadline, loop, deadline_usec, on_deadline, h);
        *ret = h;
        h = NULL;
        return 0;
}

struct helper *helper_stop(struct helper *h) {
        if (h)
                end(h);
        free(h);
        return NULL;
}
