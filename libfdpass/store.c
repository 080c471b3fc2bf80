/*
 * The fd store: leave descriptors with the broker and take them back in the next process.
 *
 * A broker takes descriptors only of a session that has said HELLO, so each connection says it
 * before its first STORE, and again when it had to be made anew. TAKE is two requests: what was
 * received is acknowledged, and only then does the broker let go.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"
#include "connection.h"
#include "names.h"

#define DATA_MAX 65536
#define ACK_LENGTH_MAX 64

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

static bool is_valid_call(const struct fdpass *c, const char *name) {
        return c && name && name_is_valid(name, strlen(name));
}

/* ---- store ------------------------------------------------------------------------------------*/

/* From here on the broker takes descriptors over this connection, or says that it never does. */
static int say_hello(struct fdpass *c) {
        struct packet_writer request;
        int r;

        if (c->stores)
                return 0;
        packet_begin(&request);
        packet_add(&request, "VERB", "HELLO");
        r = connection_call(c, &request, NULL, 0);
        if (r < 0)
                return r;
        c->stores = assignments_get(&c->answer.assignments, "STORE");
        message_clear(&c->answer.message);
        return c->stores ? 0 : -EACCES;
}

static int write_all(int fd, const char *data, size_t size) {
        while (size > 0) {
                ssize_t n = write(fd, data, size);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0) {
                        data += n;
                        size -= (size_t) n;
                }
        }
        return 0;
}

/* A sealed memfd, or a negative errno. */
static int make_memfd(const void *data, size_t size) {
        unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
        _cleanup_close_ int fd = memfd_create("fdpass-stored", flags | MFD_NOEXEC_SEAL);
        int r;

        if (fd < 0 && errno == EINVAL)
                fd = memfd_create("fdpass-stored", flags);
        if (fd < 0)
                return -errno;
        r = write_all(fd, data, size);
        if (r < 0)
                return r;
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return -errno;
        return take_fd(&fd);
}

static int store(struct fdpass *c, const char *name, const int *fds, size_t n_fds, size_t size) {
        struct packet_writer request;
        int r;

        do {
                r = say_hello(c);
                if (r < 0)
                        return r;
                packet_begin(&request);
                packet_add(&request, "VERB", "STORE");
                packet_add(&request, "NAME", name);
                if (size > 0)
                        packet_add_u64(&request, "SIZE", size);
                c->storing = true;
                r = connection_call(c, &request, fds, n_fds);
                c->storing = false;
        } while (r == -ECONNRESET); /* another broker, to which HELLO was not said */
        if (r == 0)
                message_clear(&c->answer.message);
        return r;
}

int fdpass_store(struct fdpass *c, const char *name, const int *fds, size_t n_fds, const void *data,
                 size_t size) {
        _cleanup_close_ int memfd = -1;
        int all[FD_LIST_MAX];

        if (!is_valid_call(c, name) || (n_fds > 0 && !fds) || (size > 0 && !data) ||
            n_fds + (size > 0) == 0 || n_fds > FD_LIST_MAX - (size > 0) || size > DATA_MAX)
                return -EINVAL;
        if (n_fds > 0)
                memcpy(all, fds, n_fds * sizeof(*fds));
        if (size > 0) {
                memfd = make_memfd(data, size);
                if (memfd < 0)
                        return memfd;
                all[n_fds++] = memfd;
        }
        connection_begin(c);
        return store(c, name, all, n_fds, size);
}

/* ---- take -------------------------------------------------------------------------------------*/

/* What came, until it is the caller's. */
struct taken {
        size_t n_fds;
        int *fds;
        size_t size;
        char *data;
        char ack[ACK_LENGTH_MAX + 1];
};

static void taken_clear(struct taken *t) {
        for (size_t i = 0; i < t->n_fds; i++)
                close_fd(t->fds[i]);
        free(t->fds);
        free(t->data);
}

static int read_data(int fd, struct taken *t) {
        size_t done = 0;

        t->data = malloc(t->size);
        if (!t->data)
                return -ENOMEM;
        while (done < t->size) {
                ssize_t n = pread(fd, t->data + done, t->size - done, (off_t) done);

                if (n == 0)
                        return -EPROTO;
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0)
                        done += (size_t) n;
        }
        return 0;
}

static int read_keys(struct fdpass *c, struct taken *t) {
        const struct assignments *a = &c->answer.assignments;
        const struct text *fds = assignments_get(a, "FDS"), *size = assignments_get(a, "SIZE"),
                          *ack = assignments_get(a, "ACK");
        uint64_t n_fds, bytes = 0;

        if (!fds || !ack || ack->length > ACK_LENGTH_MAX || text_to_u64(*fds, &n_fds) < 0 ||
            n_fds == 0 || n_fds != c->answer.message.fds.count ||
            (size && (text_to_u64(*size, &bytes) < 0 || bytes == 0 || bytes > DATA_MAX)))
                return -EPROTO;
        memcpy(t->ack, ack->start, ack->length);
        t->size = (size_t) bytes;
        return 0;
}

/* The answer to TAKE is in c->answer. */
static int collect(struct fdpass *c, struct taken *t) {
        struct fd_list *list = &c->answer.message.fds;
        size_t n;
        int r = read_keys(c, t);

        if (r < 0)
                return r;
        n = list->count - (t->size > 0);
        if (n > 0) {
                t->fds = malloc(n * sizeof(*t->fds));
                if (!t->fds)
                        return -ENOMEM;
        }
        if (t->size > 0) {
                r = read_data(list->fds[n], t);
                if (r < 0)
                        return r;
        }
        while (t->n_fds < n) {
                t->fds[t->n_fds] = fd_list_take_fd(list, t->n_fds);
                t->n_fds++;
        }
        return 0;
}

/* Not told, the broker keeps its copies: more than needed, and nothing is lost. */
static void acknowledge(struct fdpass *c, const char *name, const struct taken *t) {
        struct packet_writer request;

        packet_begin(&request);
        packet_add(&request, "VERB", "TAKEN");
        packet_add(&request, "NAME", name);
        packet_add(&request, "ACK", t->ack);
        if (connection_call(c, &request, NULL, 0) == 0)
                message_clear(&c->answer.message);
}

int fdpass_take(struct fdpass *c, const char *name, int **ret_fds, void **ret_data,
                size_t *ret_size) {
        struct packet_writer request;
        struct taken t = {0};
        int r;

        if (!is_valid_call(c, name) || !ret_fds || !ret_data != !ret_size)
                return -EINVAL;
        connection_begin(c);
        packet_begin(&request);
        packet_add(&request, "VERB", "TAKE");
        packet_add(&request, "NAME", name);
        r = connection_call(c, &request, NULL, 0);
        if (r < 0)
                return r;
        r = collect(c, &t);
        message_clear(&c->answer.message);
        if (r < 0) {
                taken_clear(&t);
                return r == -EPROTO ? connection_die(c, r) : r;
        }
        acknowledge(c, name, &t);
        *ret_fds = t.fds;
        if (ret_data) {
                *ret_data = t.data;
                *ret_size = t.size;
        } else {
                free(t.data);
        }
        return (int) t.n_fds;
}
