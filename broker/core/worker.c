/*
 * Kept children. Errands, descriptors and results go over one socket pair of packets; an empty
 * packet from the child is the end of a result. The end of the stream reads the same, so a child
 * that died at work has its result counted, becomes the spare, and is found there to be dead.
 */
#include "core/worker.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/process.h"
#include "message.h"

#define WORKER_NAME "fdpass-worker"
#define IDLE_USEC (250 * 1000) /* a restart of many components asks some ten times a second */

struct worker {
        struct worker_pool *pool;
        int fd;    /* owned: our end of the pair */
        int pidfd; /* owned */
        struct io_watch watch;
        struct timer timer; /* at work: its deadline; spare: until it is ended */
        child_done *done;   /* NULL: spare */
        void *owner;
        size_t size;
        char result[CHILD_RESULT_MAX + 1];
};

/* Before the bytes of the request. The function is where it was when the child was forked. */
struct order {
        void (*work)(const void *request, int fd, int result_fd);
        _Alignas(max_align_t) char request[WORKER_REQUEST_MAX];
};

_Static_assert(sizeof(struct order) <= MESSAGE_SIZE_MAX, "an errand is one packet");

/* ---- in the child -----------------------------------------------------------------------------*/

static void run_errand(int fd, struct message *message) {
        _cleanup_close_ int extra = fd_list_take_fd(&message->fds, 0);
        struct order order;

        memcpy(&order, message->data, message->size);
        order.work(order.request, extra, fd);
        (void) send(fd, "", 0, MSG_NOSIGNAL);
}

/* Ends with the broker, also when that executes another program: our socket is closed then. */
static _Noreturn void serve(int fd) {
        struct message message = {0};

        child_begin();
        (void) prctl(PR_SET_NAME, WORKER_NAME); /* so that ps tells it from broker and keeper */
        (void) close_range(STDERR_FILENO + 1, (unsigned) fd - 1, 0);
        (void) close_range((unsigned) fd + 1, ~0U, 0);
        while (message_receive_wait(fd, &message) > 0)
                run_errand(fd, &message);
        _exit(0);
}

/* ---- in the broker ----------------------------------------------------------------------------*/

/* Nothing of it is left but its result. */
static void end(struct worker *w) {
        io_watch_stop(&w->watch);
        timer_stop(&w->timer);
        (void) pidfd_send_signal(w->pidfd, SIGKILL, NULL, 0);
        loop_put_child(w->pool->loop, take_fd(&w->pidfd));
        w->fd = close_fd(w->fd);
}

static void end_spare(struct worker_pool *pool) {
        pool->spare = worker_stop(pool->spare);
}

static void on_idle(void *owner) {
        struct worker *w = owner;

        end_spare(w->pool);
}

/* The next errand wants one at once; of several that come free, one is enough. */
static void keep(struct worker *w) {
        w->done = NULL;
        end_spare(w->pool);
        w->pool->spare = w;
        timer_start(&w->timer, w->pool->loop, IDLE_USEC, on_idle, w);
}

static void finish(struct worker *w) {
        child_done *done = w->done;

        w->result[w->size] = '\0';
        keep(w);
        done(w->owner, w->result, w->size);
}

static void on_deadline(void *owner) {
        struct worker *w = owner;

        end(w); /* it hangs, and is not fit for another errand */
        w->result[w->size] = '\0';
        w->done(w->owner, w->result, w->size);
        free(w);
}

/* Packets that have no room are lost, like the rest of a helper's result. */
static void on_result(void *owner, int events) {
        struct worker *w = owner;

        for (;;) {
                ssize_t n = recv(w->fd, w->result + w->size, CHILD_RESULT_MAX - w->size,
                                 MSG_DONTWAIT | MSG_TRUNC);

                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        return;
                if (n <= 0)
                        break;
                w->size += (size_t) n < CHILD_RESULT_MAX - w->size ? (size_t) n
                                                                   : CHILD_RESULT_MAX - w->size;
        }
        if (w->done)
                finish(w);
        else
                end_spare(w->pool); /* it died */
}

static int worker_fork(struct worker **ret, struct worker_pool *pool) {
        struct worker *w = calloc(1, sizeof(*w));
        int ends[2], r;
        pid_t pid;

        if (!w)
                return -ENOMEM;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
                r = -errno;
                free(w);
                return r;
        }
        pid = process_fork(&w->pidfd);
        if (pid == 0)
                serve(ends[1]);
        close_fd(ends[1]);
        if (pid < 0) {
                r = -errno;
                close_fd(ends[0]);
                free(w);
                return r;
        }
        w->pool = pool;
        w->fd = ends[0];
        io_watch_start(&w->watch, pool->loop, w->fd, IO_READ, on_result, w);
        *ret = w;
        return 0;
}

static int give(struct worker *w, const struct errand *errand) {
        struct order order;

        if (errand->size > sizeof(order.request))
                return -EMSGSIZE;
        memset(&order, 0, offsetof(struct order, request)); /* with what is between the two */
        order.work = errand->work;
        memcpy(order.request, errand->request, errand->size);
        return message_send(w->fd, &order, offsetof(struct order, request) + errand->size,
                            &errand->fd, errand->fd >= 0 ? 1 : 0);
}

/* The spare one may have died, and nobody has noticed. */
static int give_to_spare(struct worker **ret, struct worker_pool *pool,
                         const struct errand *errand) {
        struct worker *w = pool->spare;
        int r = w ? give(w, errand) : -ENOENT;

        if (r == 0) {
                pool->spare = NULL;
                *ret = w;
        }
        return r;
}

static int give_to_new(struct worker **ret, struct worker_pool *pool, const struct errand *errand) {
        int r = worker_fork(ret, pool);

        if (r == 0)
                r = give(*ret, errand);
        return r;
}

void worker_pool_init(struct worker_pool *pool, struct loop *loop) {
        *pool = (struct worker_pool){.loop = loop};
}

void worker_pool_clear(struct worker_pool *pool) {
        end_spare(pool);
}

int worker_start(struct worker **ret, struct worker_pool *pool, const struct errand *errand,
                 uint64_t deadline_usec, child_done *done, void *owner) {
        struct worker *w = NULL;
        int r;

        if (*ret)
                return -EBUSY;
        r = give_to_spare(&w, pool, errand);
        if (r < 0)
                r = give_to_new(&w, pool, errand);
        if (r < 0) {
                (void) worker_stop(w);
                return r;
        }
        w->size = 0;
        w->done = done;
        w->owner = owner;
        deadline_start(&w->timer, pool->loop, deadline_usec, on_deadline, w);
        *ret = w;
        return 0;
}

struct worker *worker_stop(struct worker *worker) {
        if (worker)
                end(worker);
        free(worker);
        return NULL;
}
