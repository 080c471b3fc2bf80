/*
 * A component that accepts by io_uring, with the system calls themselves. Its arguments are words:
 * "multishot" (one request for all connections), "sqpoll" (submitted by a kernel thread), "hidden"
 * (the ring has no descriptor), "deaf" (says READY=1 and asks for no connection). Ends with status
 * 77 where io_uring is not to be had; "try" does only that much.
 *
 * SIGTERM: the request is taken back, what came before that is answered.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define ENTRIES 8
#define LISTENER 3
#define NOT_TO_BE_HAD 77

enum request {
        ACCEPT = 1,
        SIGNAL,
        CANCEL,
};

struct ring {
        int fd; /* or its index, when it has none */
        unsigned setup, enter;
        _Atomic unsigned *sq_tail, *sq_flags, *cq_head, *cq_tail;
        unsigned *sq_array;
        unsigned sq_mask, cq_mask, n_filled;
        struct io_uring_sqe *sqes;
        const struct io_uring_cqe *cqes;
};

struct server {
        struct ring ring;
        bool multishot, deaf, stopping, is_asked;
        int signals;
};

static void fail(const char *what) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        exit(NOT_TO_BE_HAD);
}

/* ---- the ring ---------------------------------------------------------------------------------*/

static void *map(int fd, size_t size, off_t offset) {
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);

        if (p == MAP_FAILED)
                fail("mmap");
        return p;
}

/* Known to the kernel by an index from now on. */
static void hide(struct ring *r) {
        struct io_uring_rsrc_update update = {.offset = 0, .data = (unsigned) r->fd};

        if (syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_RING_FDS, &update, 1) != 1)
                fail("IORING_REGISTER_RING_FDS");
        close(r->fd);
        r->fd = (int) update.offset;
        r->enter |= IORING_ENTER_REGISTERED_RING;
}

static void open_ring(struct ring *r, unsigned flags, bool hidden) {
        struct io_uring_params p = {.flags = flags, .sq_thread_idle = 1000};
        char *sq, *cq;

        r->fd = (int) syscall(SYS_io_uring_setup, ENTRIES, &p);
        if (r->fd < 0)
                fail("io_uring_setup");
        sq = map(r->fd, p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
        cq = map(r->fd, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe),
                 IORING_OFF_CQ_RING);
        r->sqes = map(r->fd, p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
        r->setup = flags;
        r->sq_tail = (_Atomic unsigned *) (sq + p.sq_off.tail);
        r->sq_flags = (_Atomic unsigned *) (sq + p.sq_off.flags);
        r->sq_array = (unsigned *) (sq + p.sq_off.array);
        r->sq_mask = p.sq_entries - 1;
        r->cq_head = (_Atomic unsigned *) (cq + p.cq_off.head);
        r->cq_tail = (_Atomic unsigned *) (cq + p.cq_off.tail);
        r->cq_mask = p.cq_entries - 1;
        r->cqes = (struct io_uring_cqe *) (cq + p.cq_off.cqes);
        if (hidden)
                hide(r);
}

/* At most three requests are there at a time. */
static void submit(struct ring *r, const struct io_uring_sqe *sqe) {
        unsigned tail = atomic_load(r->sq_tail), at = tail & r->sq_mask;

        r->sqes[at] = *sqe;
        r->sq_array[at] = at;
        atomic_store(r->sq_tail, tail + 1);
        r->n_filled++;
}

static void enter(struct ring *r) {
        unsigned flags = r->enter | IORING_ENTER_GETEVENTS, n = r->n_filled;

        if (r->setup & IORING_SETUP_SQPOLL) {
                n = 0;
                if (atomic_load(r->sq_flags) & IORING_SQ_NEED_WAKEUP)
                        flags |= IORING_ENTER_SQ_WAKEUP;
        }
        if (syscall(SYS_io_uring_enter, r->fd, n, 1, flags, NULL, 0) < 0 && errno != EINTR)
                fail("io_uring_enter");
        r->n_filled = 0;
}

/* ---- the server -------------------------------------------------------------------------------*/

static void ask_for_connections(struct server *s) {
        struct io_uring_sqe sqe = {.opcode = IORING_OP_ACCEPT,
                                   .fd = LISTENER,
                                   .accept_flags = SOCK_CLOEXEC,
                                   .user_data = ACCEPT};

        if (s->multishot)
                sqe.ioprio = IORING_ACCEPT_MULTISHOT;
        submit(&s->ring, &sqe);
        s->is_asked = true;
}

static void wait_for_signal(struct server *s) {
        const struct io_uring_sqe sqe = {.opcode = IORING_OP_POLL_ADD,
                                         .fd = s->signals,
                                         .poll32_events = 1, /* POLLIN */
                                         .user_data = SIGNAL};

        submit(&s->ring, &sqe);
}

static void take_back(struct server *s) {
        const struct io_uring_sqe sqe = {
                .opcode = IORING_OP_ASYNC_CANCEL, .fd = -1, .addr = ACCEPT, .user_data = CANCEL};

        s->stopping = true;
        if (s->is_asked)
                submit(&s->ring, &sqe);
}

static void answer(int client) {
        const char *component = getenv("FDPASS_COMPONENT"), *generation = getenv("FDPASS_GENERATION");
        struct timeval patience = {.tv_sec = 10};
        char request[4096];

        (void) setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        if (recv(client, request, sizeof(request), 0) > 0)
                dprintf(client, "HTTP/1.0 200 OK\r\n\r\ncomponent=%s\ngeneration=%s\npid=%d\n",
                        component ? component : "", generation ? generation : "", (int) getpid());
        close(client);
}

static void handle(struct server *s, const struct io_uring_cqe *cqe) {
        if (cqe->user_data == SIGNAL)
                take_back(s);
        if (cqe->user_data != ACCEPT)
                return;
        s->is_asked = cqe->flags & IORING_CQE_F_MORE;
        if (cqe->res >= 0)
                answer(cqe->res);
        else if (cqe->res != -ECANCELED) {
                errno = -cqe->res;
                fail("accept");
        }
        if (!s->is_asked && !s->stopping)
                ask_for_connections(s);
}

static void serve(struct server *s) {
        struct ring *r = &s->ring;

        wait_for_signal(s);
        if (!s->deaf)
                ask_for_connections(s);
        while (!s->stopping || s->is_asked) {
                unsigned head = atomic_load(r->cq_head);

                if (head == atomic_load(r->cq_tail)) {
                        enter(r);
                        continue;
                }
                struct io_uring_cqe cqe = r->cqes[head & r->cq_mask];
                atomic_store(r->cq_head, head + 1);
                handle(s, &cqe);
        }
}

/* ---- its start --------------------------------------------------------------------------------*/

static void say_ready(void) {
        const char *path = getenv("NOTIFY_SOCKET");
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        socklen_t size;

        if (!path || strlen(path) >= sizeof(address.sun_path))
                return;
        memcpy(address.sun_path, path, strlen(path));
        size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(path));
        if (path[0] == '@')
                address.sun_path[0] = '\0';
        (void) sendto(fd, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *) &address, size);
        close(fd);
}

static bool has_word(char **words, const char *word) {
        for (; *words; words++)
                if (strcmp(*words, word) == 0)
                        return true;
        return false;
}

int main(int argc, char **argv) {
        struct server s = {.multishot = has_word(argv, "multishot"), .deaf = has_word(argv, "deaf")};
        sigset_t term;

        (void) argc;
        open_ring(&s.ring, has_word(argv, "sqpoll") ? IORING_SETUP_SQPOLL : 0,
                  has_word(argv, "hidden"));
        if (has_word(argv, "try"))
                return 0;
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        sigprocmask(SIG_BLOCK, &term, NULL);
        s.signals = signalfd(-1, &term, SFD_CLOEXEC);
        if (s.signals < 0)
                fail("signalfd");
        say_ready();
        serve(&s);
        return 0;
}
