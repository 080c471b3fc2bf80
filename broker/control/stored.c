/*
 * The table of what programs stored. Descriptors leave it in two steps: first the keeper forgets
 * them, then a disposable child closes them, so that neither keeper nor broker is ever the last to
 * close what somebody else chose.
 */
#include "control/stored.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "control/control_private.h"
#include "control/settling.h"
#include "core/clock.h"
#include "keeper/memory.h"

/* Forgotten, and to be closed when the keeper has let go. */
struct farewell {
        struct settlement settlement;
        struct stored *stored;
};

struct stored_key stored_key(uid_t uid, struct text name) {
        struct stored_key key = {.uid = uid};

        memcpy(key.name, name.start, name.length); /* a valid name, so it fits */
        return key;
}

/* ---- entries ----------------------------------------------------------------------------------*/

void stored_free(struct stored *s) {
        if (s) {
                close_fd(s->box_fd);
                free(s->fds);
                free(s->ids);
                free(s);
        }
}

int stored_new(const struct stored_key *key, uint64_t size, struct fd_list *fds,
               struct stored **ret) {
        struct stored *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->fds = calloc(fds->count, sizeof(*s->fds));
        s->ids = calloc(fds->count, sizeof(*s->ids));
        if (!s->fds || !s->ids) {
                stored_free(s);
                return -ENOMEM;
        }
        s->box_fd = -1;
        s->key = *key;
        s->size = size;
        s->since_usec = clock_realtime_usec();
        s->n_fds = fds->count;
        for (size_t i = 0; i < s->n_fds; i++)
                s->fds[i] = fd_list_take_fd(fds, i);
        *ret = s;
        return 0;
}

/* ---- the table --------------------------------------------------------------------------------*/

struct stored *stored_find(const struct stored_table *t, uid_t uid, struct text name) {
        struct stored_key key = stored_key(uid, name);
        struct stored *s;

        HASH_FIND(hh, t->entries, &key, sizeof(key), s);
        return s;
}

static void add(struct stored_sum *sum, const struct stored *s) {
        sum->fds += s->n_fds;
        sum->bytes += s->size;
}

struct stored_sum stored_sum_of_user(const struct stored_table *t, uid_t uid,
                                     const struct stored *except) {
        struct stored_sum sum = {0};

        for (const struct stored *s = t->entries; s; s = s->hh.next)
                if (s->key.uid == uid && !s->key.component[0] && s != except)
                        add(&sum, s);
        return sum;
}

struct stored_sum stored_sum_of_all(const struct stored_table *t, const struct stored *except) {
        struct stored_sum sum = {0};

        for (const struct stored *s = t->entries; s; s = s->hh.next)
                if (s != except)
                        add(&sum, s);
        return sum;
}

static void forget_taker(struct stored *s) {
        if (s->taker)
                s->taker->n_taking--;
        s->taker = NULL;
}

void stored_begin_taking(struct stored *s, struct session *session) {
        forget_taker(s);
        s->taker = session;
        session->n_taking++;
}

void stored_end_taking(struct stored_table *t, struct session *session) {
        for (struct stored *s = t->entries; s && session->n_taking > 0; s = s->hh.next)
                if (s->taker == session)
                        forget_taker(s);
}

void stored_remove(struct stored_table *t, struct stored *s) {
        stored_unwatch(t, s);
        forget_taker(s);
        HASH_DEL(t->entries, s);
}

int stored_insert(struct stored_table *t, struct stored *s, struct stored **ret_old) {
        struct stored *old;

        HASH_FIND(hh, t->entries, &s->key, sizeof(s->key), old);
        HASH_ADD(hh, t->entries, key, sizeof(s->key), s);
        if (!s->hh.tbl)
                return -ENOMEM;
        if (old)
                stored_remove(t, old);
        if (s->is_polled)
                stored_watch(t, s);
        *ret_old = old;
        return 0;
}

int stored_put(struct stored_table *t, struct stored *s, struct stored **ret_old) {
        struct memory *m = t->control->broker->memory;
        int r = 0;

        if (m) {
                r = stored_keep(m, s);
                /* Whoever hears that it is kept relies on it. */
                if (r == 0 && memory_error(m) < 0)
                        r = -ENOSPC;
        } else {
                (void) snprintf(s->id, sizeof(s->id), "s%llu", (unsigned long long) ++t->serial);
        }
        if (r == 0)
                r = stored_insert(t, s, ret_old);
        if (r < 0 && m)
                stored_forget(m, s);
        return r;
}

/* ---- the end of an entry ----------------------------------------------------------------------*/

static void dispose(struct control *c, struct stored *s) {
        disposal_put_fds(c, s->fds, s->n_fds);
        stored_free(s);
}

static void on_forgotten(struct control *c, struct settlement *settlement) {
        struct farewell *f = (struct farewell *) settlement;

        dispose(c, f->stored);
        free(f);
}

void stored_discard(struct stored_table *t, struct stored *s) {
        struct control *c = t->control;
        struct farewell *f;

        if (!s)
                return;
        if (c->broker->memory)
                stored_forget(c->broker->memory, s);
        f = calloc(1, sizeof(*f));
        if (!f) {
                dispose(c, s);
                return;
        }
        *f = (struct farewell){.settlement.done = on_forgotten, .stored = s};
        settling_add(&c->settling, &f->settlement);
}

/* ---- life -------------------------------------------------------------------------------------*/

int stored_table_init(struct stored_table *t, struct control *control) {
        struct broker *b = control->broker;

        t->control = control;
        stored_hangups_init(t);
        t->component_refusals = (struct rate_limit){.interval_usec = 60 * 1000 * 1000, .burst = 3};
        return b->memory ? stored_load(t, b->memory, b->log) : 0;
}

void stored_table_clear(struct stored_table *t) {
        struct stored *s, *next;

        HASH_ITER (hh, t->entries, s, next) {
                stored_remove(t, s);
                dispose(t->control, s);
        }
        stored_hangups_clear(t);
}
