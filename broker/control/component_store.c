/*
 * FDSTORE=1 as sd_pid_notify_with_fds(3) has it: several descriptors may have one name, one that is
 * there already is not stored again, what exceeds FileDescriptorStoreMax= is closed, and what has
 * hung up is dropped unless FDPOLL=0 was said. Each packet makes an entry of its own, so that
 * nothing which is kept has to be written anew.
 */
#include "control/component_store.h"

#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "components/component_table.h"
#include "config/config.h"
#include "control/control_private.h"
#include "control/descriptor.h"
#include "control/stored.h"

static bool is_of(const struct stored *s, const char *component) {
        return strcmp(s->key.component, component) == 0;
}

static size_t count_of(const struct stored_table *t, const char *component) {
        size_t n = 0;

        for (const struct stored *s = t->entries; s; s = s->hh.next)
                n += is_of(s, component) ? s->n_fds : 0;
        return n;
}

/* ---- store ------------------------------------------------------------------------------------*/

/*
 * What a component stored already, in the order of the kernel's own (kcmp(2)): each question is a
 * system call, and the peer chooses how many descriptors are asked about. The numbers are compared
 * in the kernel; no file system is asked, and where there is no kcmp nothing is the same.
 */
struct known {
        int *fds;
        size_t count;
        bool comparable;
};

static long kernel_order(int a, int b) {
        pid_t pid = getpid();

        return syscall(SYS_kcmp, pid, pid, KCMP_FILE, a, b);
}

static int compare(const void *a, const void *b) {
        long order = kernel_order(*(const int *) a, *(const int *) b);

        return order == 1 ? -1 : order == 2;
}

/* With room for those of `more`. Nothing is known without memory for it: twice is better than not
 * at all. */
static void known_begin(struct known *known, const struct stored_table *t, const char *component,
                        size_t n, const struct fd_list *more) {
        *known = (struct known){.fds = calloc(n + more->count + 1, sizeof(int))};
        if (!known->fds)
                return;
        for (const struct stored *s = t->entries; s; s = s->hh.next)
                for (size_t i = 0; is_of(s, component) && i < s->n_fds; i++)
                        known->fds[known->count++] = s->fds[i];
        known->comparable = more->count > 0 && kernel_order(more->fds[0], more->fds[0]) == 0;
        if (known->comparable)
                qsort(known->fds, known->count, sizeof(int), compare);
}

/* Where it is (0), or where it belongs (1). */
static int known_find(const struct known *known, int fd, size_t *ret) {
        size_t low = 0, high = known->comparable ? known->count : 0;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                int order = compare(&fd, &known->fds[middle]);

                if (order == 0)
                        return 0;
                if (order < 0)
                        high = middle;
                else
                        low = middle + 1;
        }
        *ret = low;
        return 1;
}

static void known_add(struct known *known, int fd, size_t place) {
        if (!known->comparable)
                return;
        memmove(known->fds + place + 1, known->fds + place, (known->count - place) * sizeof(int));
        known->fds[place] = fd;
        known->count++;
}

static void refuse(struct control *c, const struct component *component, const char *name,
                   const char *why) {
        unsigned suppressed;

        if (rate_limit_pass(&c->stored.component_refusals, loop_now_usec(), &suppressed))
                log_warning(c->broker->log, ABOUT(.component = component->name),
                            "%s stored a descriptor as %s that is not kept: %s (%u refusals since "
                            "the last such line)",
                            component->name, name, why, suppressed);
}

/* Is one more to be kept, when there are `n` already? */
static bool check(struct control *c, const struct component *component, const char *name, int fd,
                  size_t n) {
        const struct stored_sum all = stored_sum_of_all(&c->stored, NULL);
        const char *why = NULL;

        if (n >= component->config->stored_max)
                why = component->config->stored_max == 0 ? "FileDescriptorStoreMax= is not set"
                                                         : "FileDescriptorStoreMax= is reached";
        else if (all.fds + 1 > c->broker->limits.stored)
                why = "the store is full (StoredMax=)";
        else
                why = descriptor_refusal(fd, c->endpoint.path);
        if (why)
                refuse(c, component, name, why);
        return !why;
}

/* Those of the packet that are to be kept come out of *fds, which keeps the rest. */
static void choose(struct control *c, const struct component *component, const char *name,
                   struct fd_list *fds, struct fd_list *ret) {
        size_t n = count_of(&c->stored, component->name);
        struct known known;
        struct fd_list rest;

        known_begin(&known, &c->stored, component->name, n, fds);
        fd_list_init(ret);
        fd_list_init(&rest);
        for (size_t i = 0; i < fds->count; i++) {
                int fd = fds->fds[i];
                size_t place;

                if (fd < 0)
                        continue;
                if (known_find(&known, fd, &place) == 1 &&
                    check(c, component, name, fd, n + ret->count)) {
                        (void) fd_list_put_fd(ret, fd);
                        known_add(&known, fd, place);
                } else {
                        (void) fd_list_put_fd(&rest, fd);
                }
        }
        free(known.fds);
        *fds = rest;
}

static struct stored_key next_key(const struct stored_table *t, const char *component,
                                  const char *name) {
        struct stored_key key = stored_key(0, (struct text){name, strlen(name)});

        memcpy(key.component, component, strlen(component) + 1); /* a name, so it fits */
        for (const struct stored *s = t->entries; s; s = s->hh.next)
                if (is_of(s, component) && strcmp(s->key.name, name) == 0 &&
                    s->key.part >= key.part)
                        key.part = s->key.part + 1;
        return key;
}

static int put(struct control *c, const struct component *component,
               const struct notify_packet *packet, struct fd_list *fds) {
        const struct stored_key key = next_key(&c->stored, component->name, packet->fd_name);
        struct stored *stored, *old = NULL;
        int r = stored_new(&key, 0, fds, &stored);

        if (r < 0)
                return r;
        stored->is_polled = !(packet->flags & NOTIFY_UNPOLLED);
        r = stored_put(&c->stored, stored, &old);
        if (r < 0)
                stored_discard(&c->stored, stored);
        return r;
}

static void dispose(void *owner, struct fd_list *fds) {
        disposal_put_fds(owner, fds->fds, fds->count);
        fd_list_init(fds);
}

static void on_store(void *owner, struct component *component, const struct notify_packet *packet) {
        struct control *c = owner;
        struct fd_list chosen;
        int r;

        choose(c, component, packet->fd_name, packet->fds, &chosen);
        if (chosen.count > 0) {
                r = put(c, component, packet, &chosen);
                if (r < 0) {
                        refuse(c, component, packet->fd_name, strerror(-r));
                        dispose(c, &chosen); /* those that were taken are -1 by now */
                }
        }
        dispose(c, packet->fds);
}

/* ---- remove -----------------------------------------------------------------------------------*/

size_t component_store_drop(struct stored_table *t, struct text component, struct text name) {
        struct stored *s, *next;
        size_t n = 0;

        HASH_ITER (hh, t->entries, s, next) {
                if (!text_equal(component, s->key.component) || !text_equal(name, s->key.name))
                        continue;
                stored_remove(t, s);
                stored_discard(t, s);
                n++;
        }
        return n;
}

static void on_remove(void *owner, struct component *component, const char *fd_name) {
        struct control *c = owner;

        (void) component_store_drop(&c->stored,
                                    (struct text){component->name, strlen(component->name)},
                                    (struct text){fd_name, strlen(fd_name)});
}

void component_store_prune(struct stored_table *t, const struct config *config) {
        struct stored *s, *next;

        HASH_ITER (hh, t->entries, s, next) {
                if (!s->key.component[0] || config_find_component(config, s->key.component))
                        continue;
                log_info(t->control->broker->log, ABOUT(.component = s->key.component),
                         "what %s stored as %s is dropped: it is not configured any more",
                         s->key.component, s->key.name);
                stored_remove(t, s);
                stored_discard(t, s);
        }
}

/* ---- give -------------------------------------------------------------------------------------*/

/* In the order in which they were stored, which is that of the table. */
static size_t on_stored(void *owner, struct component *component, struct spawn_fd *ret,
                        size_t max) {
        const struct control *c = owner;
        size_t n = 0;

        for (const struct stored *s = c->stored.entries; s; s = s->hh.next)
                for (size_t i = 0; is_of(s, component->name) && i < s->n_fds && n < max; i++)
                        ret[n++] = (struct spawn_fd){.fd = s->fds[i], .name = s->key.name};
        return n;
}

void component_store_callbacks(struct control *control, struct component_callbacks *ret) {
        *ret = (struct component_callbacks){.store = on_store,
                                            .remove = on_remove,
                                            .stored = on_stored,
                                            .dispose = dispose,
                                            .owner = control};
}
