/* State document and fd store together. See memory.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/inherited.h"
#include "core/log.h"
#include "keeper/link.h"
#include "keeper/memory_private.h"

/* The letters of those ids that a descriptor may be stored under. */
#define ID_KINDS "cefghilq"

static void forget_nameless(struct memory *m, struct nameless *n) {
        HASH_DEL(m->nameless, n);
        free(n);
}

/* ---- loading -----------------------------------------------------------------------------------
 */

static int load_state(struct memory *m, struct inherited *inherited) {
        struct state_report report = {0};
        int fd = inherited_take_named(inherited, STATE_ID), r;
        bool damaged = fd >= 0;

        if (fd >= 0) {
                r = state_open(&m->state, fd, &report);
                if (r == 0) {
                        if (report.bytes_lost > 0 || report.other_slot)
                                log_warning(m->log, NULL,
                                            "the state document was damaged: %zu records read, %zu "
                                            "bytes lost",
                                            report.records, report.bytes_lost);
                        return 0;
                }
                log_error(m->log, NULL,
                          "the kept state document cannot be read: %s; what is known from the "
                          "descriptors and the configuration is kept",
                          r == -EPROTO ? "another format version" : strerror(-r));
                if (r == -ENOMEM)
                        return r;
        }
        r = state_new(&m->state);
        /* systemd would keep both. */
        return r == 0 && damaged ? fd_store_remove(m->store, STATE_ID) : r;
}

/* "l12": what we store things under, and what nobody calls a socket. */
static bool looks_like_an_id(const char *name) {
        size_t digits = strspn(name + (*name != '\0'), "0123456789");

        return *name && strchr(ID_KINDS, *name) && digits > 0 && name[1 + digits] == '\0' &&
               strlen(name) < STATE_ID_SIZE;
}

static int note_nameless(struct memory *m, const char *id) {
        struct nameless *n;

        HASH_FIND_STR(m->nameless, id, n);
        if (n)
                return 0;
        n = calloc(1, sizeof(*n));
        if (!n)
                return -ENOMEM;
        (void) strcpy(n->id, id);
        HASH_ADD_STR(m->nameless, id, n);
        if (!n->hh.tbl) {
                free(n);
                return -ENOMEM;
        }
        return 0;
}

/*
 * A descriptor whose record is lost is claimed as a gift of systemd's would be: by what it is. Its
 * id is not given to anything else until then.
 */
static int find_nameless(struct memory *m, const struct inherited *inherited) {
        unsigned count;
        int r = 0;

        for (size_t i = 0; r == 0 && i < inherited_count(inherited); i++)
                if (looks_like_an_id(inherited_name(inherited, i)))
                        r = note_nameless(m, inherited_name(inherited, i));
        count = HASH_COUNT(m->nameless);
        if (count > 0)
                log_warning(m->log, NULL,
                            "%u kept descriptors have no record any more; listening sockets among "
                            "them are found again by their address",
                            count);
        return r;
}

/* From the end, where taking one out costs nothing; other names are systemd's socket units. */
static void take_kept(struct memory *m, struct inherited *inherited) {
        for (size_t i = inherited_count(inherited); i-- > 0;) {
                struct state_note *n = state_note(m->state, inherited_name(inherited, i));
                if (!n)
                        continue;
                if (n->kept)
                        close_fd(n->fd); /* the store had two of that id */
                n->fd = inherited_take_fd(inherited, i);
                n->kept = true;
        }
}

int memory_new(struct memory **ret, enum fd_store_kind kind, int link_fd,
               struct inherited *inherited, struct loop *loop, struct log *log) {
        struct memory *m = calloc(1, sizeof(*m));
        int r;

        if (!m) {
                close_fd(link_fd);
                return -ENOMEM;
        }
        m->loop = loop;
        m->log = log;
        m->leaving_fd = -1;
        m->made_fd =
                kind == FD_STORE_KEEPER ? inherited_take_named(inherited, LINK_MADE_KEEPER) : -1;
        r = fd_store_new(&m->store, kind, link_fd, loop, log, memory_lost_keeper, m);
        if (r == 0)
                r = load_state(m, inherited);
        if (r == 0) {
                take_kept(m, inherited);
                r = find_nameless(m, inherited);
        }
        if (r == 0 && state_peek_fd(m->state) >= 0)
                r = fd_store_push(m->store, STATE_ID, state_peek_fd(m->state), false);
        if (r < 0) {
                memory_free(m);
                return r;
        }
        m->catch_up = (struct catch_up){m->state, m->store, loop, log};
        catch_up_check(&m->catch_up);
        *ret = m;
        return 0;
}

static void close_kept(struct memory *m) {
        for (const char *id = m->state ? state_first(m->state) : NULL; id;
             id = state_next(m->state, id))
                if (state_note(m->state, id)->kept)
                        close_fd(state_note(m->state, id)->fd);
}

struct memory *memory_free(struct memory *m) {
        if (m) {
                timer_stop(&m->retry);
                catch_up_stop(&m->catch_up);
                fd_store_free(m->store);
                close_fd(m->made_fd);
                close_fd(m->leaving_fd);
                close_kept(m);
                while (m->nameless)
                        forget_nameless(m, m->nameless);
                state_free(m->state);
                free(m);
        }
        return NULL;
}

/* ---- what was kept -----------------------------------------------------------------------------
 */

static const char *from(const struct memory *m, const char *kind, const char *id) {
        while (id && !state_is(m->state, id, kind))
                id = state_next(m->state, id);
        return id;
}

const char *memory_first(const struct memory *m, const char *kind) {
        return from(m, kind, state_first(m->state));
}

const char *memory_next(const struct memory *m, const char *kind, const char *id) {
        return from(m, kind, state_next(m->state, id));
}

bool memory_get(const struct memory *m, const char *id, struct assignments *ret) {
        return state_get(m->state, id, ret);
}

int memory_take_fd(struct memory *m, const char *id) {
        struct state_note *n = state_note(m->state, id);

        if (!n || !n->kept)
                return -1;
        n->kept = false; /* stored as before, and lent by its new owner */
        return n->fd;
}

int memory_peek_fd(const struct memory *m, const char *id) {
        const struct state_note *n = state_note(m->state, id);

        return n && n->kept ? n->fd : -1;
}

static bool is_listening(int fd) {
        int value = 0;
        socklen_t size = sizeof(value);

        return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value;
}

int memory_disown(struct memory *m, const char *id, struct inherited *inherited) {
        char copy[STATE_ID_SIZE];
        int r, fd;

        (void) strcpy(copy, id); /* which may be the record's own */
        fd = memory_take_fd(m, copy);
        if (fd < 0)
                return 0;
        r = note_nameless(m, copy);
        (void) state_remove(m->state, copy);
        if (r < 0) {
                close_fd(fd);
                return r;
        }
        return inherited_put_fd(inherited, copy, fd);
}

bool memory_is_new(const struct memory *m) {
        return state_count(m->state) == 0 && !m->nameless;
}

bool memory_is_lost(const struct memory *m) {
        return m->nameless;
}

bool memory_is_nameless(const struct memory *m, const char *id) {
        struct nameless *n;

        HASH_FIND_STR(m->nameless, id, n);
        return n;
}

/* True when it stays what it is: a socket that still may be claimed. */
static bool settle_nameless(struct memory *m, const struct nameless *n,
                            struct inherited *inherited) {
        for (size_t i = inherited_count(inherited); i-- > 0;) {
                if (strcmp(inherited_name(inherited, i), n->id) != 0)
                        continue;
                if (is_listening(inherited_peek_fd(inherited, i)))
                        return true;
                log_warning(m->log, NULL,
                            "the kept descriptor %s has no record and is no listening socket; it "
                            "is closed",
                            n->id);
                close_fd(inherited_take_fd(inherited, i));
        }
        return false;
}

void memory_forget_nameless(struct memory *m, struct inherited *inherited) {
        struct nameless *n, *next;

        for (n = m->nameless; n; n = next) {
                next = n->hh.next;
                if (settle_nameless(m, n, inherited))
                        continue;
                (void) fd_store_remove(m->store, n->id);
                forget_nameless(m, n);
        }
}

void memory_forget_unclaimed(struct memory *m) {
        const char *id, *next;

        for (id = state_first(m->state); id; id = next) {
                next = state_next(m->state, id);
                if (!state_note(m->state, id)->kept)
                        continue;
                log_warning(m->log, NULL,
                            "the kept descriptor %s is of no use any more; it is closed", id);
                memory_remove(m, id);
        }
}

/* ---- what is to be kept ------------------------------------------------------------------------
 */

void memory_new_id(struct memory *m, char kind, char ret[STATE_ID_SIZE]) {
        struct nameless *taken;

        do {
                state_new_id(m->state, kind, ret);
                HASH_FIND_STR(m->nameless, ret, taken);
        } while (taken);
}

int memory_put(struct memory *m, const char *id, const struct packet_writer *record,
               const char *const known[]) {
        int r = state_put(m->state, id, record, known);

        catch_up_check(&m->catch_up);
        return r;
}

int memory_error(const struct memory *m) {
        return state_error(m->state);
}

int memory_put_fd(struct memory *m, const char *id, int fd) {
        struct state_note *n = state_note(m->state, id), before;
        struct nameless *nameless;
        int r = 0;

        if (!n)
                return -ENOENT;
        HASH_FIND_STR(m->nameless, id, nameless);
        if (nameless)
                forget_nameless(m, nameless);
        before = *n;
        *n = (struct state_note){.fd = fd};
        /* The keeper replaces; systemd would keep both. */
        if (before.fd >= 0 && fd_store_kind(m->store) == FD_STORE_SYSTEMD)
                r = fd_store_remove(m->store, id);
        if (r == 0)
                r = fd_store_push(m->store, id, fd, before.fd < 0);
        if (before.kept)
                close_fd(before.fd);
        return r;
}

void memory_remove(struct memory *m, const char *id) {
        const struct state_note *found = state_note(m->state, id);
        struct state_note n;
        char copy[STATE_ID_SIZE];

        if (!found)
                return;
        /* Both go with the record, and so does `id` when it is as memory_first() gave it. */
        n = *found;
        (void) strcpy(copy, id);
        (void) state_remove(m->state, id);
        catch_up_check(&m->catch_up);
        if (n.fd >= 0)
                (void) fd_store_remove(m->store, copy);
        if (n.kept)
                close_fd(n.fd);
}

bool memory_outlives_us(const struct memory *m) {
        return fd_store_kind(m->store) == FD_STORE_SYSTEMD;
}

int memory_each_fd(const struct memory *m, int (*each)(void *owner, const char *id, int fd),
                   void *owner) {
        int r = each(owner, STATE_ID, state_peek_fd(m->state));

        for (const char *id = state_first(m->state); id && r >= 0; id = state_next(m->state, id)) {
                int fd = state_note(m->state, id)->fd;
                if (fd >= 0)
                        r = each(owner, id, fd);
        }
        if (r >= 0 && m->made_fd >= 0)
                r = each(owner, LINK_MADE_KEEPER, m->made_fd);
        return r < 0 ? r : 0;
}

int memory_copy_state(const struct memory *m) {
        return state_copy(m->state);
}

bool memory_is_full(const struct memory *m) {
        return fd_store_is_full(m->store);
}

bool memory_is_sent(const struct memory *m) {
        return fd_store_is_sent(m->store);
}

int memory_peek_link(const struct memory *m) {
        return fd_store_peek_link(m->store);
}

int memory_barrier(struct memory *m, void (*done)(void *owner), void *owner) {
        return fd_store_barrier(m->store, done, owner);
}

void memory_cancel_barriers(struct memory *m, const void *owner) {
        fd_store_cancel_barriers(m->store, owner);
}
