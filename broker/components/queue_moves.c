/*
 * Who waits, by sock_diag(7), as it is on Linux 6.18 (tests/unit/test_kernel_facts.c):
 *
 * TCP   A connection in an accept queue is listed with inode 0, established or closed by its client
 *       (CLOSE_WAIT); net/ipv4/inet_diag.c gives the inode of a socket that has none as 0. Its
 *       cookie says which one it is. The order of the list is that of a hash, so all of it is
 *       remembered, not the head. One that its client reset is not listed any more (tcp_done()) and
 *       still counts in the queue's length (tcpi_unacked), which is how it is told from one that
 *       was accepted and closed.
 * Unix  UDIAG_SHOW_ICONS lists the clients in the queue by the inodes of their own sockets, in the
 *       order of the queue (net/unix/diag.c, sk_diag_dump_icons()); 0 is one that has closed. So
 *       the head is enough: as long as nobody accepts, it stays what it is. Where all of its
 *       clients have closed, it is not told from another of such clients.
 */
#include "components/queue_moves.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/component_table.h"
#include "core/helper.h"
#include "sockets/queue.h"
#include "sockets/socket_diag.h"

#define DEADLINE_USEC (5 * 1000 * 1000)
#define SOCKETS_MAX 64
#define TCP_MAX 16384 /* of more, so many are compared */
#define HEAD_MAX 64

struct head {
        uint32_t inode; /* of the listening socket */
        size_t n;
        uint32_t clients[HEAD_MAX];
};

/* What one look saw. */
struct seen {
        bool is_complete;
        size_t n_tcp;
        uint64_t tcp[TCP_MAX]; /* cookies, in order */
        int64_t unlisted;      /* TCP: in the queue, and not in the list */
        size_t n_heads;
        struct head heads[SOCKETS_MAX];
};

struct queue_moves {
        const struct component *component;
        struct seen *seen;     /* shared with the child, which writes it */
        struct helper *helper; /* that looks; NULL */
        void (*done)(void *owner, enum queue_move move);
        void *owner;
};

/* ---- in the child ---- */

struct look {
        const struct component *component;
        const struct seen *before;
        struct seen *now;
        size_t n_wanted, n_tcp_wanted; /* sockets that listen, all and TCP ones */
        uint32_t wanted[SOCKETS_MAX];
        size_t n_listeners;
        struct diag_socket listeners[SOCKETS_MAX]; /* TCP, as the kernel lists them */
        int64_t n_waiting;                         /* TCP */
        size_t n_still;                            /* of those that waited before */
        bool moved;
};

/* Of all TCP listeners; notes what is wanted. */
static int64_t read_queues(struct look *look) {
        int64_t length = 0;

        look->n_wanted = look->n_tcp_wanted = 0;
        for (size_t k = 0; k < look->component->config->n_sockets; k++) {
                const struct component *c = look->component;
                const struct listener *l =
                        listener_table_find(c->table->listeners, c->config->sockets[k]);

                for (size_t m = 0; l && m < l->n_sockets && look->n_wanted < SOCKETS_MAX; m++) {
                        bool is_tcp = l->sockets[m]->address.any.sa_family != AF_UNIX;
                        struct queue q;

                        if (queue_read(l->fds[m], &q) < 0)
                                continue;
                        look->wanted[look->n_wanted++] = (uint32_t) l->sockets[m]->inode;
                        look->n_tcp_wanted += is_tcp;
                        length += is_tcp ? q.length : 0;
                }
        }
        return length;
}

static bool is_wanted(const struct look *look, uint32_t inode) {
        for (size_t i = 0; i < look->n_wanted; i++)
                if (look->wanted[i] == inode)
                        return true;
        return false;
}

static int note_listener(void *owner, const struct diag_socket *s) {
        struct look *look = owner;

        if (look->n_listeners < SOCKETS_MAX && is_wanted(look, s->inode))
                look->listeners[look->n_listeners++] = *s;
        return 0;
}

static bool is_of_any(const struct look *look, const struct diag_socket *s) {
        for (size_t i = 0; i < look->n_listeners; i++)
                if (socket_diag_is_of(s, &look->listeners[i]))
                        return true;
        return false;
}

static int compare(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return x < y ? -1 : x > y;
}

static int note_tcp(void *owner, const struct diag_socket *s) {
        struct look *look = owner;
        bool waited;

        if ((s->state != TCP_ESTABLISHED && s->state != TCP_CLOSE_WAIT) || !is_of_any(look, s))
                return 0;
        waited = bsearch(&s->cookie, look->before->tcp, look->before->n_tcp, sizeof(s->cookie),
                         compare);
        if (s->inode != 0) {
                look->moved |= waited;
                return 0;
        }
        look->n_waiting++;
        look->n_still += waited;
        if (look->now->n_tcp < TCP_MAX)
                look->now->tcp[look->now->n_tcp++] = s->cookie;
        return 0;
}

/* Each port once, though several listeners may have it. */
static bool is_repeated(const struct look *look, size_t at) {
        const struct diag_socket *l = look->listeners;

        for (size_t i = 0; i < at; i++)
                if (l[i].family == l[at].family && l[i].local_port == l[at].local_port)
                        return true;
        return false;
}

static int look_at_tcp(struct look *look) {
        int64_t length = read_queues(look), gone, unlisted;
        int r = 0;

        if (look->n_tcp_wanted == 0)
                return 0;
        (void) socket_diag_tcp_listening(AF_INET, note_listener, look);
        (void) socket_diag_tcp_listening(AF_INET6, note_listener, look);
        if (look->n_listeners < look->n_tcp_wanted)
                return -ENOENT; /* of another network, or a kernel without tcp_diag */
        for (size_t i = 0; i < look->n_listeners && r == 0; i++)
                if (!is_repeated(look, i))
                        r = socket_diag_tcp(look->listeners[i].family,
                                            look->listeners[i].local_port, note_tcp, look);
        qsort(look->now->tcp, look->now->n_tcp, sizeof(look->now->tcp[0]), compare);
        /* What comes while the list is read must not look like a reset one that left: that is
         * reckoned from the length before, and compared with the one after. */
        look->now->unlisted = length > look->n_waiting ? length - look->n_waiting : 0;
        length = read_queues(look);
        unlisted = length > look->n_waiting ? length - look->n_waiting : 0;
        gone = (int64_t) (look->before->n_tcp - look->n_still);
        look->moved |= gone > unlisted - look->before->unlisted;
        return r;
}

static const struct head *find_head(const struct seen *seen, uint32_t inode) {
        for (size_t i = 0; i < seen->n_heads; i++)
                if (seen->heads[i].inode == inode)
                        return &seen->heads[i];
        return NULL;
}

static bool head_moved(const struct head *before, const struct head *now) {
        if (now->n < before->n)
                return true;
        for (size_t i = 0; i < before->n; i++)
                if (now->clients[i] != before->clients[i] && now->clients[i] != 0)
                        return true;
        return false;
}

static int note_unix(void *owner, const struct diag_socket *s) {
        struct look *look = owner;
        struct head *head = &look->now->heads[look->now->n_heads];
        const struct head *before = find_head(look->before, s->inode);

        if (look->now->n_heads == SOCKETS_MAX || !is_wanted(look, s->inode))
                return 0;
        look->now->n_heads++;
        head->inode = s->inode;
        head->n = s->n_clients < HEAD_MAX ? s->n_clients : HEAD_MAX;
        if (head->n > 0)
                memcpy(head->clients, s->clients, head->n * sizeof(head->clients[0]));
        look->moved |= before && head_moved(before, head);
        return 0;
}

static int look_at_unix(struct look *look) {
        size_t n = look->n_wanted - look->n_tcp_wanted;
        int r = n > 0 ? socket_diag_unix_clients(note_unix, look) : 0;

        return r == 0 && look->now->n_heads < n ? -ENOENT : r;
}

static void look(void *argument, int result_fd) {
        const struct queue_moves *m = argument;
        _cleanup_free_ struct look *look = calloc(1, sizeof(*look));
        _cleanup_free_ struct seen *now = calloc(1, sizeof(*now));
        unsigned char move = QUEUE_SEEN;

        if (!look || !now)
                return;
        look->component = m->component;
        look->before = m->seen;
        look->now = now;
        if (look_at_tcp(look) < 0 || look_at_unix(look) < 0)
                return;
        if (m->seen->is_complete)
                move = look->moved ? QUEUE_MOVED : QUEUE_STILL;
        now->is_complete = true;
        *m->seen = *now;
        (void) !write(result_fd, &move, 1);
}

/* ---- in the broker ---- */

int queue_moves_new(struct queue_moves **ret, const struct component *component) {
        struct queue_moves *m = calloc(1, sizeof(*m));

        if (!m)
                return -ENOMEM;
        /* Pages that nothing is written to take no memory. */
        m->seen = mmap(NULL, sizeof(*m->seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                       -1, 0);
        if (m->seen == MAP_FAILED) {
                free(m);
                return -ENOMEM;
        }
        m->component = component;
        *ret = m;
        return 0;
}

struct queue_moves *queue_moves_free(struct queue_moves *m) {
        if (m) {
                queue_moves_forget(m);
                (void) munmap(m->seen, sizeof(*m->seen));
                free(m);
        }
        return NULL;
}

/* A child that was killed while it wrote has left anything. */
static void forget_seen(struct queue_moves *m) {
        m->seen->is_complete = false;
        m->seen->n_tcp = m->seen->n_heads = 0;
        m->seen->unlisted = 0;
}

static void on_looked(void *owner, const char *result, size_t size) {
        struct queue_moves *m = owner;

        m->helper = NULL;
        if (size != 1)
                forget_seen(m);
        m->done(m->owner, size == 1 ? (enum queue_move) result[0] : QUEUE_UNKNOWN);
}

int queue_moves_look(struct queue_moves *m, void (*done)(void *owner, enum queue_move move),
                     void *owner) {
        int r = helper_start(&m->helper, m->component->table->loop, DEADLINE_USEC, look, m,
                             on_looked, m);

        if (r == 0) {
                m->done = done;
                m->owner = owner;
        }
        return r;
}

void queue_moves_forget(struct queue_moves *m) {
        m->helper = helper_stop(m->helper);
        forget_seen(m);
}
