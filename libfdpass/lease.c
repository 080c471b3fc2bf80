/*
 * Borrow and give back.
 *
 * The descriptors of one listener may come in several packets. They are all taken before the call
 * returns, whatever it returns: what stayed in the socket would be read as the next call's answer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "connection.h"
#include "names.h"

/* Far above any listener, and small enough to allocate on a peer's word. */
#define FDS_TOTAL_MAX 65536
/* How often an answer that was cut off between two parts is asked for again. */
#define ATTEMPTS_MAX 3

struct collection {
        size_t total, count;
        int single; /* what fds points to for a total of 1: no allocation for the usual case */
        int *fds;   /* else owned */
};

static void collection_clear(struct collection *l) {
        for (size_t i = 0; i < l->count; i++)
                close_fd(l->fds[i]);
        if (l->fds != &l->single)
                free(l->fds);
        l->fds = NULL;
        l->count = 0;
}

static int call_with_name(struct fdpass *c, const char *verb, const char *name) {
        struct packet_writer request;

        packet_begin(&request);
        packet_add(&request, "VERB", verb);
        packet_add(&request, "NAME", name);
        return connection_call(c, &request, NULL, 0);
}

/* A number from 1 to max; `otherwise` when the key is missing; 0 when it is anything else. */
static size_t answer_count(struct fdpass *c, const char *key, size_t max, size_t otherwise) {
        const struct text *value = assignments_get(&c->answer.assignments, key);
        uint64_t n;

        if (!value)
                return otherwise;
        return text_to_u64(*value, &n) < 0 || n > max ? 0 : (size_t) n;
}

/* What came with one packet. -EPROTO when it is more than was announced. */
static int collect_packet(struct fdpass *c, struct collection *l) {
        struct fd_list *fds = &c->answer.message.fds;

        if (fds->count > l->total - l->count)
                return -EPROTO;
        for (size_t i = 0; i < fds->count; i++)
                l->fds[l->count++] = fd_list_take_fd(fds, i);
        return 0;
}

/* All parts, the first of which is in c->answer. */
static int collect_parts(struct fdpass *c, struct collection *l) {
        size_t parts = answer_count(c, "PARTS", FDS_TOTAL_MAX, 1);

        if (parts == 0)
                return -EPROTO;
        for (size_t part = 1;; part++) {
                int r;

                if (answer_count(c, "PARTS", FDS_TOTAL_MAX, 1) != parts ||
                    answer_count(c, "PART", parts, 1) != part ||
                    answer_count(c, "FDS", FDS_TOTAL_MAX, 0) != l->total)
                        return -EPROTO;
                r = collect_packet(c, l);
                if (r < 0)
                        return r;
                if (part == parts)
                        return l->count == l->total ? 0 : -EPROTO;
                r = connection_call_next(c);
                if (r < 0)
                        return r;
        }
}

static int collect(struct fdpass *c, struct collection *l) {
        int r;

        l->total = answer_count(c, "FDS", FDS_TOTAL_MAX, 0);
        if (l->total == 0)
                return -EPROTO;
        l->fds = l->total == 1 ? &l->single : malloc(l->total * sizeof(*l->fds));
        if (!l->fds)
                return -ENOMEM;
        r = collect_parts(c, l);
        if (r < 0)
                collection_clear(l);
        return r;
}

/* What a broken answer leaves: further parts, or descriptors that do not fit what was said. */
static int give_up(struct fdpass *c, int error) {
        message_clear(&c->answer.message);
        return c->state == DEAD ? error : connection_die(c, error);
}

static int acquire(struct fdpass *c, const char *name, struct collection *l) {
        connection_begin(c);
        for (unsigned attempt = 1;; attempt++) {
                int r = call_with_name(c, "ACQUIRE", name);

                if (r < 0)
                        return r;
                r = collect(c, l);
                if (r == -ECONNRESET && attempt < ATTEMPTS_MAX)
                        continue;
                if (r < 0)
                        return give_up(c, r == -ECONNRESET ? -EHOSTDOWN : r);
                return 0;
        }
}

static bool is_valid_call(const struct fdpass *c, const char *name) {
        return c && name && name_is_valid(name, strlen(name));
}

int fdpass_acquire(struct fdpass *c, const char *name, int *ret_fd) {
        struct collection l = {.count = 0};
        int r;

        if (!is_valid_call(c, name) || !ret_fd)
                return -EINVAL;
        r = acquire(c, name, &l);
        if (r < 0)
                return r;
        if (l.total > 1) {
                collection_clear(&l);
                return -ENOTUNIQ;
        }
        held_keep(c, name, &l.single, 1);
        *ret_fd = l.single;
        return 0;
}

/* Hand all of them over, as an array of the caller's. Their number, or -ENOMEM. */
static int collection_take(struct collection *l, int **ret_fds) {
        if (l->fds == &l->single) {
                int *fds = malloc(sizeof(*fds));

                if (!fds) {
                        collection_clear(l);
                        return -ENOMEM;
                }
                *fds = l->single;
                l->fds = fds;
        }
        *ret_fds = l->fds;
        return (int) l->count;
}

int fdpass_acquire_all(struct fdpass *c, const char *name, int **ret_fds) {
        struct collection l = {.count = 0};
        int r;

        if (!is_valid_call(c, name) || !ret_fds)
                return -EINVAL;
        r = acquire(c, name, &l);
        if (r < 0)
                return r;
        held_keep(c, name, l.fds, l.count);
        return collection_take(&l, ret_fds);
}

int fdpass_acquire_named(struct fdpass *c, const char *name, int **ret_fds, char **ret_fd_name) {
        const struct text *text;
        char *fd_name;
        int r;

        r = fdpass_acquire_all(c, name, ret_fds);
        if (r < 0)
                return r;
        text = assignments_get(&c->answer.assignments, "FDNAME");
        fd_name = text ? text_dup(*text) : strdup(name);
        if (!fd_name) {
                while (r > 0)
                        close_fd((*ret_fds)[--r]);
                free(*ret_fds);
                return -ENOMEM;
        }
        *ret_fd_name = fd_name;
        return r;
}

int fdpass_release(struct fdpass *c, const char *name) {
        int r;

        if (!is_valid_call(c, name))
                return -EINVAL;
        connection_begin(c);
        held_drop(c, (struct text){name, strlen(name)});
        r = call_with_name(c, "RELEASE", name);
        if (r == 0)
                message_clear(&c->answer.message);
        return r;
}
