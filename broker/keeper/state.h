/*
 * The state document: what the broker must know again after its own death, in a memfd that outlives
 * it in the fd store. Descriptors are kept beside it, each under the id of its record.
 *
 * It is a set of records. A record has an id of its own ("l12"), which is also the name of its
 * descriptor in the fd store, and assignments in the grammar of our packets: RECORD=listener,
 * NAME=web. Fields that this version does not know are kept, so that a newer broker finds them
 * again after an older one.
 *
 * The memfd has two slots. One is active: a snapshot, and behind it the changes since, each with a
 * checksum, so that a change costs what it is long and not what all records are long. When the
 * changes outgrow the snapshot, a new snapshot goes into the idle slot, and only when that is whole
 * the header is flipped. Death at any point leaves all changes but the unfinished one.
 */
#ifndef KEEPER_STATE_H
#define KEEPER_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grammar.h"

#define STATE_FORMAT 1
#define STATE_ID_SIZE 24

struct state;

/* How a document loaded; for one log line. */
struct state_report {
        size_t records;
        size_t bytes_lost; /* behind the last change that is whole */
        bool other_slot;   /* the active slot was damaged and the other one loaded */
};

/*
 * There may be no room: for the memfd, in it, or under RLIMIT_FSIZE. That is no error of what
 * follows but a state: changes are held in memory, state_error() says why, and state_catch_up()
 * writes them when it can.
 */

/* An empty document in a new memfd. 0, -ENOMEM. */
int state_new(struct state **ret);

/*
 * Load a document. Takes fd, also when it fails. What is damaged is left out and reported.
 * 0; -EBADMSG when it is no state document or neither slot can be read; -EPROTO when it was written
 * in a format that this version does not know; -ENOMEM.
 */
int state_open(struct state **ret, int fd, struct state_report *ret_report);

struct state *state_free(struct state *state);

/* 0, or why not everything is written: -ENOSPC, -ENOMEM, -EMFILE, -EFBIG, …. */
int state_error(const struct state *state);
/* Try to write everything. As state_error() then. */
int state_catch_up(struct state *state);

/* The memfd, to be pushed to the fd store; -1 when there was none to be had yet. */
int state_peek_fd(const struct state *state);
/* A copy of it, for a program that is only to try it: a memfd, or -EMFILE, -ENOMEM, …. */
int state_copy(const struct state *state);

/*
 * Write the record `id`, new or in place of the one before; fields of that one that this version
 * does not know are carried over when `known` (a NULL-terminated list of keys) does not name them.
 * What is the same as before is not written again.
 * 0, or with nothing changed: -ENOMEM, -EMSGSIZE, -EINVAL (id or record ill-formed).
 */
int state_put(struct state *state, const char *id, const struct packet_writer *record,
              const char *const known[]);

/* 0 or -ENOENT. */
int state_remove(struct state *state, const char *id);

/*
 * A record as it is, read from the memfd; the views live until the next state_get() or change.
 * False when there is none.
 */
bool state_get(struct state *state, const char *id, struct assignments *ret);
/* Is it one with RECORD=`kind`? Without reading: for walks over thousands of records. */
bool state_is(const struct state *state, const char *id, const char *kind);

/*
 * What the caller notes beside a record, in this process only: the descriptor that goes with it. It
 * lives as long as the record and is his: nothing here looks at it or closes it.
 */
struct state_note {
        int fd;    /* -1: none; so in a new record */
        bool kept; /* by a process before us, and taken by nobody yet: owned, else lent */
};

/* NULL when there is no such record. */
struct state_note *state_note(struct state *state, const char *id);

/*
 * Walk over all records in the order in which they were first written:
 * for (id = state_first(s); id; id = state_next(s, id)). To remove the current one, ask for the
 * next one first.
 */
const char *state_first(const struct state *state);
const char *state_next(const struct state *state, const char *id);
size_t state_count(const struct state *state);

/* "l1", "l2", …: an id that was never used in this document. */
void state_new_id(struct state *state, char kind, char ret[STATE_ID_SIZE]);

#endif
