/* State document and fd store together. See memory.h. */
#include "keeper/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "core/hash.h"

#include "cleanup.h"
#include "core/inherited.h"
#include "core/log.h"

/* The document itself is stored under this id; it has no record. */
#define STATE_ID MEMORY_STATE_ID

#define KEEPER_RETRY_USEC 200000

/* The letters that memory_new_id() is asked for. */
#define ID_KINDS "cefhl"

/* A stored descriptor: ours by number (lent by its owner), or kept and not taken yet (owned). */
struct stored {
        char id[STATE_ID_SIZE];
        int fd;
        bool kept;
        UT_hash_handle hh;
};

/* A stored descriptor whose record is lost. It stays among what was inherited. */
struct nameless {
        char id[STATE_ID_SIZE];
        UT_hash_handle hh;
};

struct memory {
        struct state *state;
        struct fd_store *store;
        struct stored *stored;
        struct nameless *nameless;
        struct loop *loop;
        struct log *log;
        struct timer retry;
        uint64_t lost_usec; /* the last keeper */
        int (*new_keeper)(void *owner);
        void *owner;
        bool ready;
};

static struct stored *find(const struct memory *m, const char *id) {
        struct stored *s;

        HASH_FIND_STR(m->stored, id, s);
        return s;
}

static void forget(struct memory *m, struct stored *s) {
        if (s->kept)
                close_fd(s->fd);
        HASH_DEL(m->stored, s);
        free(s);
}

static struct stored *remember(struct memory *m, const char *id, int fd, bool kept) {
        struct stored *s = find(m, id);

        if (s && s->kept)
                close_fd(s->fd);
        if (!s) {
                s = calloc(1, sizeof(*s));
                if (!s)
                        return NULL;
                (void) snprintf(s->id, sizeof(s->id), "%s", id);
                HASH_ADD_STR(m->stored, id, s);
                if (!s->hh.tbl) {
                        free(s);
                        return NULL;
                }
        }
        s->fd = fd;
        s->kept = kept;
        return s;
}

static void forget_nameless(struct memory *m, struct nameless *n) {
        HASH_DEL(m->nameless, n);
        free(n);
}

/* ---- a new keeper ------------------------------------------------------------------------------
 */

static void replace_keeper(void *owner) {
        struct memory *m = owner;
        int link_fd = m->new_keeper ? m->new_keeper(m->owner) : -ENOTCONN;

        m->lost_usec = loop_now_usec();
        if (link_fd < 0) {
                timer_start(&m->retry, m->loop, KEEPER_RETRY_USEC, replace_keeper, m);
                return;
        }
        fd_store_reconnect(m->store, link_fd);
        (void) fd_store_push(m->store, STATE_ID, state_peek_fd(m->state));
        for (struct stored *s = m->stored; s; s = s->hh.next) {
                int r = fd_store_push(m->store, s->id, s->fd);
                if (r < 0)
                        log_error(m->log, NULL, "descriptor %s cannot be stored: %s", s->id,
                                  strerror(-r));
        }
        fd_store_refilled(m->store);
        if (m->ready)
                (void) fd_store_say(m->store, FD_STORE_READY);
        log_notice(m->log, NULL, "a new keeper has %u descriptors", HASH_COUNT(m->stored));
}

/* At once; but one that dies as soon as it is started must not keep the loop from serving. */
static void on_lost(void *owner) {
        struct memory *m = owner;

        if (m->lost_usec == 0 || loop_now_usec() - m->lost_usec > KEEPER_RETRY_USEC)
                replace_keeper(m);
        else
                timer_start(&m->retry, m->loop, KEEPER_RETRY_USEC, replace_keeper, m);
}

void memory_set_keeper(struct memory *m, int (*new_keeper)(void *owner), void *owner) {
        m->new_keeper = new_keeper;
        m->owner = owner;
}

/* ---- loading -----------------------------------------------------------------------------------
 */

static int take_named(struct inherited *inherited, const char *name) {
        for (size_t i = inherited_count(inherited); i-- > 0;)
                if (strcmp(inherited_name(inherited, i), name) == 0)
                        return inherited_take_fd(inherited, i);
        return -1;
}

static int load_state(struct memory *m, struct inherited *inherited) {
        struct state_report report = {0};
        int fd = take_named(inherited, STATE_ID), r;
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
static int take_kept(struct memory *m, struct inherited *inherited) {
        struct assignments a;

        for (size_t i = inherited_count(inherited); i-- > 0;) {
                const char *name = inherited_name(inherited, i);
                char id[STATE_ID_SIZE];
                if (strlen(name) >= sizeof(id) || !state_get(m->state, name, &a))
                        continue;
                (void) strcpy(id, name);
                int fd = inherited_take_fd(inherited, i);
                if (!remember(m, id, fd, true)) {
                        close_fd(fd);
                        return -ENOMEM;
                }
        }
        return 0;
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
        r = fd_store_new(&m->store, kind, link_fd, loop, log, on_lost, m);
        if (r == 0)
                r = load_state(m, inherited);
        if (r == 0)
                r = take_kept(m, inherited);
        if (r == 0)
                r = find_nameless(m, inherited);
        if (r == 0)
                r = fd_store_push(m->store, STATE_ID, state_peek_fd(m->state));
        if (r < 0) {
                memory_free(m);
                return r;
        }
        *ret = m;
        return 0;
}

struct memory *memory_free(struct memory *m) {
        if (m) {
                timer_stop(&m->retry);
                fd_store_free(m->store);
                while (m->stored)
                        forget(m, m->stored);
                while (m->nameless)
                        forget_nameless(m, m->nameless);
                state_free(m->state);
                free(m);
        }
        return NULL;
}

/* ---- what was kept -----------------------------------------------------------------------------
 */

static bool is_of_kind(const struct memory *m, const char *id, const char *kind) {
        struct text kind_of;

        return state_get_first(m->state, id, "RECORD", &kind_of) && text_equal(kind_of, kind);
}

static const char *from(const struct memory *m, const char *kind, const char *id) {
        while (id && !is_of_kind(m, id, kind))
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
        struct stored *s = find(m, id);

        if (!s || !s->kept)
                return -1;
        s->kept = false; /* stored as before, and lent by its new owner */
        return s->fd;
}

static bool is_listening(int fd) {
        int value = 0;
        socklen_t size = sizeof(value);

        return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value;
}

/* True when it stays what it is: a socket that still may be claimed. */
static bool settle_nameless(const struct nameless *n, struct inherited *inherited) {
        for (size_t i = inherited_count(inherited); i-- > 0;) {
                if (strcmp(inherited_name(inherited, i), n->id) != 0)
                        continue;
                if (is_listening(inherited_peek_fd(inherited, i)))
                        return true;
                close_fd(inherited_take_fd(inherited, i));
        }
        return false;
}

void memory_forget_nameless(struct memory *m, struct inherited *inherited) {
        struct nameless *n, *next;

        for (n = m->nameless; n; n = next) {
                next = n->hh.next;
                if (settle_nameless(n, inherited))
                        continue;
                (void) fd_store_remove(m->store, n->id);
                forget_nameless(m, n);
        }
}

void memory_forget_unclaimed(struct memory *m) {
        struct stored *s, *next;

        for (s = m->stored; s; s = next) {
                next = s->hh.next;
                if (!s->kept)
                        continue;
                log_warning(m->log, NULL,
                            "the kept descriptor %s is of no use any more; it is closed", s->id);
                char id[STATE_ID_SIZE];
                (void) strcpy(id, s->id);
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
        return state_put(m->state, id, record, known);
}

int memory_put_fd(struct memory *m, const char *id, int fd) {
        bool stored = find(m, id) != NULL;
        int r = 0;

        if (!remember(m, id, fd, false))
                return -ENOMEM;
        /* The keeper replaces; systemd would keep both. */
        if (stored && fd_store_kind(m->store) == FD_STORE_SYSTEMD)
                r = fd_store_remove(m->store, id);
        return r < 0 ? r : fd_store_push(m->store, id, fd);
}

void memory_remove(struct memory *m, const char *id) {
        struct stored *s = find(m, id);

        /* `id` may be the record's own, as memory_first() gives it, and is gone after this. */
        (void) state_remove(m->state, id);
        if (s) {
                (void) fd_store_remove(m->store, s->id);
                forget(m, s);
        }
}

bool memory_outlives_us(const struct memory *m) {
        return fd_store_kind(m->store) == FD_STORE_SYSTEMD;
}

void memory_say_ready(struct memory *m) {
        m->ready = true;
        (void) fd_store_say(m->store, FD_STORE_READY);
}

void memory_say_stopping(struct memory *m) {
        (void) fd_store_say(m->store, FD_STORE_STOPPING);
}

void memory_say_executable(struct memory *m, int fd) {
        (void) fd_store_say_executable(m->store, fd);
}

void memory_say_executing(struct memory *m) {
        (void) fd_store_say(m->store, FD_STORE_EXECUTING);
}

void memory_say_exec(struct memory *m) {
        (void) fd_store_say(m->store, FD_STORE_EXEC);
}

int memory_each_fd(const struct memory *m, int (*each)(void *owner, const char *id, int fd),
                   void *owner) {
        int r = each(owner, STATE_ID, state_peek_fd(m->state));

        for (const struct stored *s = m->stored; s && r >= 0; s = s->hh.next)
                r = each(owner, s->id, s->fd);
        return r < 0 ? r : 0;
}

int memory_copy_state(const struct memory *m) {
        _cleanup_close_ int copy = memfd_create("fdpass-state", MFD_CLOEXEC);
        off_t at = 0;
        ssize_t n;

        if (copy < 0)
                return -errno;
        while ((n = sendfile(copy, state_peek_fd(m->state), &at, 1 << 20)) > 0)
                ;
        return n < 0 ? -errno : take_fd(&copy);
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
