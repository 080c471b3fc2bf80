/*
 * Evidence without a probe: what /proc tells of the processes of a tree. See health.h.
 *
 * Who may be looked into: /proc/PID/fd and fdinfo of processes of our user that can be traced, and
 * with root of all. /proc/PID/task/TID/syscall and the memory of poll() and select() need the right
 * to attach, which Yama (ptrace_scope) takes away from all but root: then a server in accept(),
 * poll() or select() is only seen to hold its listener, EVIDENCE_HOLDS, and one that has it in an
 * epoll set or an io_uring is believed to ask that. Who asks accept() every few milliseconds is not
 * seen to wait; instance_accept.c is for those.
 *
 * Of an io_uring the kernel tells that a request for connections waits in it, and not on which
 * socket. That is one of the listeners if the process has no other socket that listens; if it has,
 * a connection has to tell.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/connections.h"
#include "components/health.h"
#include "components/listener_inodes.h"
#include "components/process_tree.h"
#include "components/socket_owner.h"
#include "core/worker.h"
#include "sockets/inode_set.h"
#include "sockets/process_sockets.h"
#include "sockets/ring_info.h"
#include "sockets/socket_diag.h"

#define DEADLINE_USEC (3 * 1000 * 1000)
#define ROUNDS 10
#define PAUSE_FIRST_NSEC (100 * 1000)
#define PAUSE_MAX_NSEC (2 * 1000 * 1000)
#define FDS_MAX 256     /* of the listeners in one process */
#define SETS_MAX 64     /* epoll sets with a listener in one process */
#define RINGS_MAX 64    /* and io_urings that accept */
#define ASK 0x80        /* beside the evidence, in a byte of the result */
#define POLLED_MAX 4096 /* descriptors in one poll() or select() that are looked at */

const char *evidence_text(enum evidence evidence) {
        static const char *const texts[] = {
                [EVIDENCE_NONE] = "no process of it has the listener open",
                [EVIDENCE_HOLDS] = "having the listener open",
                [EVIDENCE_WATCHES] = "waiting for connections",
                [EVIDENCE_ACCEPTS] = "waiting in accept()",
                [EVIDENCE_SERVED] = "accepting a probe",
                [EVIDENCE_SERVES] = "having accepted a connection",
        };

        return texts[evidence];
}

/* ---- in the child ---- */

struct evidence_request {
        struct process_tree tree; /* an outline */
        struct listener_inodes inodes;
        bool accepted;
};

struct look {
        const struct evidence_request *request;
        const struct process_tree *tree; /* the outline with its cgroup */
        int result_fd;
        enum evidence best;
        bool ask;
        uint32_t socket_device; /* of all sockets, as the kernel writes it */
        /* Of the process that is looked at: */
        bool holds;
        size_t n_fds, n_sets, n_rings;
        int fds[FDS_MAX];   /* wanted ones */
        int sets[SETS_MAX]; /* epoll sets that wait for one */
        int rings[RINGS_MAX];
        bool is_hidden; /* what its threads wait for may not be read */
};

/* At once: at the deadline what was found so far counts. */
static void tell(const struct look *look) {
        unsigned char byte = (unsigned char) (look->best | (look->ask ? ASK : 0));

        (void) !write(look->result_fd, &byte, 1);
}

static void improve(struct look *look, enum evidence evidence) {
        if (evidence <= look->best)
                return;
        look->best = evidence;
        tell(look);
}

static bool is_among(const int *fds, size_t n, int fd) {
        for (size_t i = 0; i < n; i++)
                if (fds[i] == fd)
                        return true;
        return false;
}

static bool has_fd(const struct look *look, int fd) {
        return is_among(look->fds, look->n_fds, fd);
}

static bool has_set(const struct look *look, int fd) {
        return is_among(look->sets, look->n_sets, fd);
}

static bool has_ring(const struct look *look, int fd) {
        return is_among(look->rings, look->n_rings, fd);
}

static void note_socket(struct look *look, const char *entry, uint64_t inode) {
        if (!listener_inodes_have(&look->request->inodes, inode))
                return;
        improve(look, EVIDENCE_HOLDS);
        look->holds = true;
        if (look->n_fds < FDS_MAX)
                look->fds[look->n_fds++] = atoi(entry);
}

/* What a set says is of use only to who asks it: look_at_threads().
 * The lines of an epoll set: "tfd: 3 events: 19 data: 3 pos:0 ino:2b1 sdev:8", proc(5). */
static void look_into_epoll(struct look *look, pid_t pid, const char *entry) {
        char path[64], line[256];
        FILE *f;

        (void) snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.16s", (int) pid, entry);
        f = fopen(path, "re");
        if (!f)
                return;
        while (fgets(line, sizeof(line), f)) {
                unsigned events, device;
                unsigned long inode;

                if (sscanf(line, "tfd: %*d events: %x data: %*x pos:%*d ino:%lx sdev:%x", &events,
                           &inode, &device) == 3 &&
                    events & POLLIN && device == look->socket_device &&
                    listener_inodes_have(&look->request->inodes, inode)) {
                        look->sets[look->n_sets++] = atoi(entry);
                        break;
                }
        }
        (void) fclose(f);
}

/* Registered in an io_uring, it needs no descriptor. */
static int note_registered(void *owner, uint32_t inode) {
        struct look *look = owner;

        if (listener_inodes_have(&look->request->inodes, inode)) {
                improve(look, EVIDENCE_HOLDS);
                look->holds = true;
        }
        return 0;
}

static void look_into_ring(struct look *look, pid_t pid, const char *entry) {
        bool accepts;

        (void) ring_info_read(pid, entry, note_registered, look, &accepts);
        if (accepts)
                look->rings[look->n_rings++] = atoi(entry);
}

/* All in one pass: reading its links is most of what a search costs. */
static void look_at_descriptors(struct look *look, pid_t pid) {
        char path[64], target[40];
        struct dirent *entry;
        unsigned long inode;
        DIR *folder;

        (void) snprintf(path, sizeof(path), "/proc/%d/fd", (int) pid);
        folder = opendir(path);
        while (folder && (entry = readdir(folder))) {
                ssize_t n = -1;

                if (entry->d_name[0] != '.')
                        n = readlinkat(dirfd(folder), entry->d_name, target, sizeof(target) - 1);
                target[n > 0 ? n : 0] = '\0';
                if (sscanf(target, "socket:[%lu]", &inode) == 1)
                        note_socket(look, entry->d_name, inode);
                else if (strcmp(target, "anon_inode:[eventpoll]") == 0 && look->n_sets < SETS_MAX)
                        look_into_epoll(look, pid, entry->d_name);
                else if (strcmp(target, RING_LINK) == 0 && look->n_rings < RINGS_MAX)
                        look_into_ring(look, pid, entry->d_name);
        }
        if (folder)
                (void) closedir(folder);
}

/* ---- a request for connections, on whichever socket ---- */

struct others {
        const struct listener_inodes *ours;
        struct inode_set inodes; /* of all that listen and are not ours */
};

static int note_listening(void *owner, const struct diag_socket *s) {
        struct others *others = owner;

        if (s->state != TCP_LISTEN || listener_inodes_have(others->ours, s->inode))
                return 0;
        return inode_set_add(&others->inodes, s->inode);
}

static int is_other(void *owner, const struct process_socket *found) {
        const struct others *others = owner;

        return found->inode == 0 || inode_set_find(&others->inodes, found->inode, NULL);
}

/* On one of ours, if it has no other that listens. */
static bool accepts_on_ours(const struct look *look, pid_t pid) {
        struct others others = {.ours = &look->request->inodes};
        bool on_ours = false;

        if (socket_diag_is_complete(socket_diag_tcp_listening(AF_INET, note_listening, &others)) &&
            socket_diag_is_complete(socket_diag_tcp_listening(AF_INET6, note_listening, &others)) &&
            socket_diag_is_complete(socket_diag_unix(note_listening, &others))) {
                inode_set_sort(&others.inodes);
                on_ours = process_sockets_of(pid, is_other, &others) == 0;
        }
        inode_set_clear(&others.inodes);
        return on_ours;
}

static void judge_rings(struct look *look, pid_t pid) {
        if (look->n_rings == 0 || (look->holds && accepts_on_ours(look, pid)))
                return;
        look->n_rings = 0;
        if (look->holds && !look->ask) {
                look->ask = true;
                tell(look);
        }
}

/* ---- a thread that waits ---- */

/* What its system call was given. */
struct call {
        pid_t tid;
        unsigned long long arguments[4];
};

static bool read_memory(pid_t tid, unsigned long long address, void *ret, size_t size) {
        struct iovec here = {.iov_base = ret, .iov_len = size};
        struct iovec there = {.iov_base = (void *) (uintptr_t) address, .iov_len = size};

        return process_vm_readv(tid, &here, 1, &there, 1, 0) == (ssize_t) size;
}

static void in_accept(struct look *look, const struct call *call) {
        if (has_fd(look, (int) call->arguments[0]))
                improve(look, EVIDENCE_ACCEPTS);
}

static void in_epoll(struct look *look, const struct call *call) {
        if (has_set(look, (int) call->arguments[0]))
                improve(look, EVIDENCE_WATCHES);
}

/* It may be given by an index that only the thread knows. */
static void in_ring(struct look *look, const struct call *call) {
        if (call->arguments[3] & IORING_ENTER_REGISTERED_RING
                    ? look->n_rings > 0
                    : has_ring(look, (int) call->arguments[0]))
                improve(look, EVIDENCE_WATCHES);
}

/* For a listener, or for an epoll set or an io_uring that has one. */
static bool is_waited_for(const struct look *look, int fd) {
        return has_fd(look, fd) || has_set(look, fd) || has_ring(look, fd);
}

static void in_poll(struct look *look, const struct call *call) {
        static struct pollfd polled[POLLED_MAX]; /* in a child of its own */
        unsigned long long n = call->arguments[1] < POLLED_MAX ? call->arguments[1] : POLLED_MAX;

        if (!read_memory(call->tid, call->arguments[0], polled, n * sizeof(polled[0])))
                return;
        for (size_t i = 0; i < n; i++)
                if (polled[i].events & POLLIN && is_waited_for(look, polled[i].fd))
                        improve(look, EVIDENCE_WATCHES);
}

static void in_select(struct look *look, const struct call *call) {
        unsigned long long n = call->arguments[0] < POLLED_MAX ? call->arguments[0] : POLLED_MAX;
        unsigned char set[POLLED_MAX / 8];

        if (!read_memory(call->tid, call->arguments[1], set, (n + 7) / 8))
                return;
        /* fd_set is made of longs; bytes are the same on a little-endian machine. */
        for (unsigned fd = 0; fd < n; fd++)
                if (set[fd / 8] & 1U << fd % 8 && is_waited_for(look, (int) fd))
                        improve(look, EVIDENCE_WATCHES);
}

static const struct waiting_call {
        long number;
        void (*look)(struct look *look, const struct call *call);
} waiting_calls[] = {
        {SYS_accept, in_accept},     {SYS_accept4, in_accept},
#ifdef SYS_epoll_wait
        {SYS_epoll_wait, in_epoll},
#endif
        {SYS_epoll_pwait, in_epoll}, {SYS_epoll_pwait2, in_epoll},
#ifdef SYS_poll
        {SYS_poll, in_poll},
#endif
        {SYS_ppoll, in_poll},        {SYS_io_uring_enter, in_ring},
#ifdef SYS_select
        {SYS_select, in_select},
#endif
        {SYS_pselect6, in_select},
};

/* "running", or "43 0x3 0x0 0x0 … SP PC": the number and the arguments. */
static void look_at_thread(struct look *look, pid_t pid, pid_t tid) {
        struct call call = {.tid = tid};
        char path[64], text[256];
        _cleanup_close_ int fd = -1;
        ssize_t n = -1;
        long number;

        (void) snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", (int) pid, (int) tid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
                n = read(fd, text, sizeof(text) - 1);
        if (n < 0 && (errno == EPERM || errno == EACCES))
                look->is_hidden = true;
        text[n > 0 ? n : 0] = '\0';
        if (sscanf(text, "%ld %llx %llx %llx %llx", &number, &call.arguments[0], &call.arguments[1],
                   &call.arguments[2], &call.arguments[3]) != 5)
                return;
        for (size_t i = 0; i < sizeof(waiting_calls) / sizeof(waiting_calls[0]); i++)
                if (waiting_calls[i].number == number)
                        waiting_calls[i].look(look, &call);
}

static void look_at_threads(struct look *look, pid_t pid) {
        char path[64];
        struct dirent *entry;
        DIR *folder;

        (void) snprintf(path, sizeof(path), "/proc/%d/task", (int) pid);
        folder = opendir(path);
        while (folder && look->best < EVIDENCE_ACCEPTS && (entry = readdir(folder))) {
                int tid = atoi(entry->d_name);

                if (tid > 0)
                        look_at_thread(look, pid, tid);
        }
        if (folder)
                (void) closedir(folder);
        if (look->is_hidden && look->n_sets + look->n_rings > 0)
                improve(look, EVIDENCE_WATCHES);
}

/* As it is in fdinfo: the kernel's inside form of a device, 12 bits of major above 20 of minor. */
static uint32_t device_of_sockets(void) {
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return 0;
        return (uint32_t) (major(st.st_dev) << 20 | (minor(st.st_dev) & 0xfffff));
}

static void look_once(struct look *look, const pid_t *pids, size_t n) {
        for (size_t i = 0; i < n && look->best < EVIDENCE_ACCEPTS; i++) {
                look->n_fds = look->n_sets = look->n_rings = 0;
                look->holds = look->is_hidden = false;
                look_at_descriptors(look, pids[i]);
                judge_rings(look, pids[i]);
                if (look->n_fds + look->n_sets + look->n_rings > 0)
                        look_at_threads(look, pids[i]);
        }
}

/* A server that serves one connection at a time waits for no other meanwhile. */
static void look_at_connections(struct look *look) {
        struct connections found;

        if (look->request->accepted && look->best < EVIDENCE_WATCHES &&
            connection_count_now(look->tree, &look->request->inodes, &found) == 0 &&
            found.count > 0)
                improve(look, EVIDENCE_SERVES);
}

/* One that is busy with connections waits for them only now and then, for a moment; one that has
 * just said that it is ready will do so at once, but hardly before that is known here. */
static void look(const void *request, int cgroup_fd, int result_fd) {
        struct timespec pause = {.tv_nsec = PAUSE_FIRST_NSEC};
        struct look look = {.request = request, .result_fd = result_fd};
        struct process_tree tree = look.request->tree;
        _cleanup_free_ pid_t *pids = calloc(TREE_PIDS_MAX, sizeof(*pids));

        if (!pids)
                return;
        tree.cgroup_fd = cgroup_fd;
        look.tree = &tree;
        look.socket_device = device_of_sockets();
        for (unsigned round = 0;
             round < ROUNDS && (round == 0 || (look.best == EVIDENCE_HOLDS && !look.ask));
             round++) {
                (void) nanosleep(&pause, NULL);
                pause.tv_nsec =
                        pause.tv_nsec < PAUSE_MAX_NSEC / 2 ? pause.tv_nsec * 2 : PAUSE_MAX_NSEC;
                look_once(&look, pids, process_tree_pids(&tree, pids, TREE_PIDS_MAX));
        }
        look_at_connections(&look);
}

/* ---- in the broker ---- */

int evidence_search_start(struct worker **ret, struct worker_pool *workers,
                          const struct process_tree *tree, const struct listener_inodes *inodes,
                          bool accepted, child_done *done, void *owner) {
        struct evidence_request request;
        struct errand errand = {look, &request, sizeof(request), tree->cgroup_fd};

        memset(&request, 0, sizeof(request)); /* all of it is sent */
        process_tree_outline(tree, &request.tree);
        request.inodes = *inodes;
        request.accepted = accepted;
        return worker_start(ret, workers, &errand, DEADLINE_USEC, done, owner);
}

enum evidence evidence_read(const char *result, size_t size, bool *ask) {
        /* Each byte is better than the one before. */
        unsigned char best = size > 0 ? (unsigned char) result[size - 1] : EVIDENCE_NONE;

        *ask = best & ASK;
        return (enum evidence)(best & ~ASK);
}
