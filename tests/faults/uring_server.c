/*
 * A component that accepts by io_uring, with the system calls themselves. Its arguments are words:
 * "multishot" (one request for all connections), "sqpoll" (submitted by a kernel thread), "indexed"
 * (the ring is known to the kernel by an index), "hidden" (and has no descriptor any more),
 * "direct" (connections are the ring's and have none), "beside" (it has a listening socket of its
 * own as well), "deaf" (says READY=1 and asks for no connection), "elsewhere" (asks for those of a
 * socket of its own). Ends with status 77 where io_uring is not to be had; "try" finds out just
 * that.
 *
 * SIGTERM: the request is taken back, what came before that is answered, and what waits by then.
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

#define CLIENTS 64
#define ENTRIES (2 * CLIENTS)
#define LISTENER 3
#define NOT_TO_BE_HAD 77

/* Above it, of those of a client, is its number. */
enum request {
        ACCEPT = 1,
        SIGNAL,
        CANCEL,
        RECEIVE,
        SEND,
        CLOSE,
        REQUEST_MASK = 7,
};

struct ring {
        int fd; /* or its index, when it has none */
        unsigned setup, enter;
        _Atomic unsigned *sq_head, *sq_tail, *sq_flags, *cq_head, *cq_tail;
        unsigned *sq_array;
        unsigned sq_mask, cq_mask;
        struct io_uring_sqe *sqes;
        const struct io_uring_cqe *cqes;
};

struct server {
        struct ring ring;
        bool multishot, direct, deaf, stopping, is_asked;
        int listener, signals;
        unsigned n_clients; /* "direct": its connections, and what each said */
        char requests[CLIENTS][1024];
        char answer[256];
        size_t answer_size;
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

static void *at(void *map, unsigned offset) {
        return (char *) map + offset;
}

static void open_ring(struct ring *r, unsigned flags) {
        struct io_uring_params p = {.flags = flags, .sq_thread_idle = 1000};
        void *sq, *cq;

        r->fd = (int) syscall(SYS_io_uring_setup, ENTRIES, &p);
        if (r->fd < 0)
                fail("io_uring_setup");
        sq = map(r->fd, p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
        cq = map(r->fd, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe),
                 IORING_OFF_CQ_RING);
        r->sqes = map(r->fd, p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
        r->setup = flags;
        r->sq_head = at(sq, p.sq_off.head);
        r->sq_tail = at(sq, p.sq_off.tail);
        r->sq_flags = at(sq, p.sq_off.flags);
        r->sq_array = at(sq, p.sq_off.array);
        r->sq_mask = p.sq_entries - 1;
        r->cq_head = at(cq, p.cq_off.head);
        r->cq_tail = at(cq, p.cq_off.tail);
        r->cq_mask = p.cq_entries - 1;
        r->cqes = at(cq, p.cq_off.cqes);
}

static void give_index(struct ring *r, bool hide) {
        struct io_uring_rsrc_update update = {.offset = 0, .data = (unsigned) r->fd};

        if (syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_RING_FDS, &update, 1) != 1)
                fail("IORING_REGISTER_RING_FDS");
        if (hide)
                close(r->fd);
        r->fd = (int) update.offset;
        r->enter |= IORING_ENTER_REGISTERED_RING;
}

/* Each client has one request at a time. */
static void submit(struct ring *r, const struct io_uring_sqe *sqe) {
        unsigned tail = atomic_load(r->sq_tail), at = tail & r->sq_mask;

        r->sqes[at] = *sqe;
        r->sq_array[at] = at;
        atomic_store(r->sq_tail, tail + 1);
}

static void enter(struct ring *r) {
        unsigned flags = r->enter | IORING_ENTER_GETEVENTS,
                 n = atomic_load(r->sq_tail) - atomic_load(r->sq_head);

        if (r->setup & IORING_SETUP_SQPOLL) {
                n = 0;
                if (atomic_load(r->sq_flags) & IORING_SQ_NEED_WAKEUP)
                        flags |= IORING_ENTER_SQ_WAKEUP;
        }
        if (syscall(SYS_io_uring_enter, r->fd, n, 1, flags, NULL, 0) < 0 && errno != EINTR)
                fail("io_uring_enter");
}

/* ---- the server -------------------------------------------------------------------------------*/

static void ask_for_connections(struct server *s) {
        struct io_uring_sqe sqe = {.opcode = IORING_OP_ACCEPT,
                                   .fd = s->listener,
                                   .accept_flags = SOCK_CLOEXEC,
                                   .user_data = ACCEPT};

        if (s->multishot)
                sqe.ioprio = IORING_ACCEPT_MULTISHOT;
        if (s->direct) {
                sqe.file_index = IORING_FILE_INDEX_ALLOC;
                sqe.accept_flags = 0;
        }
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

/* Again when it was not found: it may have been about to try, and have found nothing. */
static void take_back(struct server *s) {
        const struct io_uring_sqe sqe = {
                .opcode = IORING_OP_ASYNC_CANCEL, .fd = -1, .addr = ACCEPT, .user_data = CANCEL};

        s->stopping = true;
        if (s->is_asked)
                submit(&s->ring, &sqe);
}

static void answer(const struct server *s, int client) {
        struct timeval patience = {.tv_sec = 10};
        char request[1024];
        ssize_t n;

        (void) setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        do /* the ring interrupts it */
                n = recv(client, request, sizeof(request), 0);
        while (n < 0 && errno == EINTR);
        if (n > 0)
                (void) send(client, s->answer, s->answer_size, MSG_NOSIGNAL);
        close(client);
}

/* ---- a client that has no descriptor ----------------------------------------------------------*/

static void ask_client(struct server *s, unsigned client, enum request request) {
        struct io_uring_sqe sqe = {.opcode = IORING_OP_RECV,
                                   .fd = (int) client,
                                   .flags = IOSQE_FIXED_FILE,
                                   .addr = (uintptr_t) s->requests[client],
                                   .len = sizeof(s->requests[client]),
                                   .user_data = request | client << 3};

        if (request == SEND) {
                sqe.opcode = IORING_OP_SEND;
                sqe.addr = (uintptr_t) s->answer;
                sqe.len = (unsigned) s->answer_size;
                sqe.msg_flags = MSG_NOSIGNAL;
        } else if (request == CLOSE) {
                sqe = (struct io_uring_sqe){.opcode = IORING_OP_CLOSE,
                                            .file_index = client + 1,
                                            .user_data = sqe.user_data};
        }
        submit(&s->ring, &sqe);
}

static void handle_client(struct server *s, enum request done, unsigned client, int result) {
        if (done == CLOSE)
                s->n_clients--;
        else
                ask_client(s, client, done == RECEIVE && result > 0 ? SEND : CLOSE);
}

/* ---- all of them ------------------------------------------------------------------------------*/

static void accepted(struct server *s, int client) {
        if (s->direct) {
                s->n_clients++;
                ask_client(s, (unsigned) client, RECEIVE);
        } else {
                answer(s, client);
        }
}

static void handle(struct server *s, const struct io_uring_cqe *cqe) {
        if (cqe->user_data == SIGNAL || cqe->user_data == CANCEL)
                take_back(s);
        if ((cqe->user_data & REQUEST_MASK) >= RECEIVE)
                handle_client(s, cqe->user_data & REQUEST_MASK, (unsigned) (cqe->user_data >> 3),
                              cqe->res);
        if (cqe->user_data != ACCEPT)
                return;
        s->is_asked = cqe->flags & IORING_CQE_F_MORE;
        if (cqe->res >= 0)
                accepted(s, cqe->res);
        else if (cqe->res != -ECANCELED) {
                errno = -cqe->res;
                fail("accept");
        }
        if (!s->is_asked && !s->stopping)
                ask_for_connections(s);
}

/* A connection wakes one of those that wait for it: when that was a request which was taken back
 * at that moment, nobody else is woken. The listener is non-blocking. */
static void answer_the_rest(const struct server *s) {
        int client;

        while ((client = accept4(LISTENER, NULL, NULL, SOCK_CLOEXEC)) >= 0)
                answer(s, client);
}

static void serve(struct server *s) {
        struct ring *r = &s->ring;

        wait_for_signal(s);
        if (!s->deaf)
                ask_for_connections(s);
        while (!s->stopping || s->is_asked || s->n_clients > 0) {
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

static void prepare_answer(struct server *s) {
        const char *component = getenv("FDPASS_COMPONENT"),
                   *generation = getenv("FDPASS_GENERATION");

        s->answer_size = (size_t) snprintf(
                s->answer, sizeof(s->answer),
                "HTTP/1.0 200 OK\r\n\r\ncomponent=%s\ngeneration=%s\npid=%d\n",
                component ? component : "", generation ? generation : "", (int) getpid());
}

/* At a port that the kernel chooses. */
static int listen_elsewhere(void) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || listen(fd, 5) < 0)
                fail("listen");
        return fd;
}

static void open_direct(const struct ring *r) {
        const struct io_uring_rsrc_register files = {.nr = CLIENTS,
                                                     .flags = IORING_RSRC_REGISTER_SPARSE};

        if (syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_FILES2, &files, sizeof(files)) <
            0)
                fail("IORING_REGISTER_FILES2");
}

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
        static struct server s;
        sigset_t term;

        (void) argc;
        s.multishot = has_word(argv, "multishot");
        s.direct = has_word(argv, "direct");
        s.deaf = has_word(argv, "deaf");
        open_ring(&s.ring, has_word(argv, "sqpoll") ? IORING_SETUP_SQPOLL : 0);
        if (s.direct)
                open_direct(&s.ring);
        if (has_word(argv, "indexed") || has_word(argv, "hidden"))
                give_index(&s.ring, has_word(argv, "hidden"));
        if (has_word(argv, "try"))
                return 0;
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        sigprocmask(SIG_BLOCK, &term, NULL);
        s.signals = signalfd(-1, &term, SFD_CLOEXEC);
        if (s.signals < 0)
                fail("signalfd");
        s.listener = LISTENER;
        if (has_word(argv, "beside"))
                (void) listen_elsewhere();
        if (has_word(argv, "elsewhere"))
                s.listener = listen_elsewhere();
        prepare_answer(&s);
        say_ready();
        serve(&s);
        answer_the_rest(&s);
        /* Not by exit(3): LeakSanitizer would first stop all threads, and waits for ever for those
         * of the kernel that the ring has. */
        _exit(0);
}
