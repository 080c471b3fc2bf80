/*
 * What the broker keeps for its next life: the state document and the fd store as one thing. Each
 * object that must outlive us has a record, and a descriptor stored under the record's id.
 *
 * Order: the record first, then the descriptor; to forget, the descriptor's owner closes it last.
 * So death in between leaves a record without a descriptor or a descriptor without a record, and
 * both load, with a log line.
 */
#ifndef KEEPER_MEMORY_H
#define KEEPER_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/loop.h"
#include "grammar.h"
#include "keeper/fd_store.h"
#include "keeper/state.h"

struct memory;
struct inherited;
struct log;

/*
 * Take the state document and every descriptor that it has a record for out of `inherited`; begin
 * an empty one when there is none, or none that can be read (logged). Takes link_fd, as
 * fd_store_new(). 0, -ENOMEM, -EMFILE, or the error of fd_store_new().
 */
int memory_new(struct memory **ret, enum fd_store_kind kind, int link_fd,
               struct inherited *inherited, struct loop *loop, struct log *log);
/* Keeps everything: what it is for. Closes what was kept and never taken. */
struct memory *memory_free(struct memory *memory);

/*
 * Called when the keeper is gone; gives a link to a new one and its pidfd (-1: none), both the
 * memory's then, or a negative errno to try again later.
 */
void memory_set_keeper(struct memory *memory, int (*new_keeper)(void *owner, int *ret_pidfd),
                       void *owner);

/*
 * A keeper from outside, at the other end of link_fd, in place of one that a broker had made for
 * itself, or of none. That one stays in charge until the new one has everything, and is killed
 * then. Takes link_fd only when it succeeds. 0, -EBUSY (our keeper is from outside itself, or just
 * being replaced), -EOPNOTSUPP (the store is no keeper), -EMFILE, ….
 */
int memory_change_keeper(struct memory *memory, int link_fd);

/* ---- what was kept: for each object's owner to take at the start -------------------------------
 */

/*
 * Walk over the records of one kind, RECORD=`kind`: for (id = memory_first(m, "lease"); id;
 * id = memory_next(m, "lease", id)).
 */
const char *memory_first(const struct memory *memory, const char *kind);
const char *memory_next(const struct memory *memory, const char *kind, const char *id);
/* The views live until the next memory_get() or change of any record. */
bool memory_get(const struct memory *memory, const char *id, struct assignments *ret);

/* The kept descriptor of this record, now the caller's and still stored; -1 when there is none. */
int memory_take_fd(struct memory *memory, const char *id);
/* The same, which stays to be taken. */
int memory_peek_fd(const struct memory *memory, const char *id);

/* Log and drop, from the store too, what has been kept and was taken by nobody. */
void memory_forget_unclaimed(struct memory *memory);
/*
 * The record of `id` is not about its descriptor: drop the record, and put the descriptor, which is
 * stored as before, into `inherited` as one without a record. -ENOMEM.
 */
int memory_disown(struct memory *memory, const char *id, struct inherited *inherited);

/* Nothing was kept, and nothing is: a first start. */
bool memory_is_new(const struct memory *memory);
/* Something was kept and nothing says what it is: the state document was lost, or a part of it. */
bool memory_is_lost(const struct memory *memory);
/* Is it the id of a descriptor without a record? memory_put() and memory_put_fd() give it one. */
bool memory_is_nameless(const struct memory *memory, const char *id);

/*
 * Descriptors without a record were left in `inherited`, under their ids. After they have been
 * claimed, and stored anew under other ids: drop the old copies and close what is no listening
 * socket. A socket that nobody claimed stays, in `inherited` and in the store.
 */
void memory_forget_nameless(struct memory *memory, struct inherited *inherited);

/* ---- what is to be kept ------------------------------------------------------------------------
 */

void memory_new_id(struct memory *memory, char kind, char ret[STATE_ID_SIZE]);

/*
 * Write the record of `id`: assignments beginning with RECORD=. `known` as in state_put(). When
 * there is no room for it that is logged once, and made up for as soon as there is: memory_error().
 * 0, -ENOMEM, ….
 */
int memory_put(struct memory *memory, const char *id, const struct packet_writer *record,
               const char *const known[]);

/*
 * Store a duplicate of fd under `id`, in place of one that is stored. The number is remembered,
 * because a new keeper is given everything anew: call memory_remove() or memory_put_fd() with
 * another one before closing it. 0, -EMFILE, -ENOMEM; -ENOENT without a record.
 */
int memory_put_fd(struct memory *memory, const char *id, int fd);

/*
 * 0; or why the state document is not what it should be, so that what changes would not be known
 * again after a crash: for who promises that it would be.
 */
int memory_error(const struct memory *memory);

/* The record and its descriptor. Nothing when there is none. */
void memory_remove(struct memory *memory, const char *id);

/* Does it outlive a broker that ends of its own will? systemd's does, the keeper ends with us. */
bool memory_outlives_us(const struct memory *memory);

/* To the keeper: we serve, start us again if we die; or: we end of our own will, end too. */
void memory_say_ready(struct memory *memory);
void memory_say_stopping(struct memory *memory);
/* To the keeper: we are going to, after something that another broker is to do if we die of it. */
void memory_say_ending(struct memory *memory);

/*
 * To the keeper: another program is about to be executed in our place, and until that is ready its
 * end is a failure, whatever its exit status.
 */
void memory_say_executing(struct memory *memory);

/*
 * To the keeper: start this program when we die, from a descriptor of it; and, after an upgrade:
 * become that program too.
 */
void memory_say_executable(struct memory *memory, int fd);
void memory_say_exec(struct memory *memory);

/* ---- an upgrade, which passes everything over an exec ------------------------------------------
 */

/* Everything that is stored, the state document first. Stops at the first negative result. */
int memory_each_fd(const struct memory *memory, int (*each)(void *owner, const char *id, int fd),
                   void *owner);

/* The name of the state document in memory_each_fd(). */
#define MEMORY_STATE_ID "state"

/* A copy of the state document, for a program that is only to try it; or -EMFILE, -ENOMEM, …. */
int memory_copy_state(const struct memory *memory);

/* As fd_store_is_full(): to be asked when a barrier was answered. */
bool memory_is_full(const struct memory *memory);

/* As fd_store_is_sent() and fd_store_peek_link(). */
bool memory_is_sent(const struct memory *memory);
int memory_peek_link(const struct memory *memory);

/* Is it the keeper, if that is not our child? By the kernel's word on who made the link. */
bool memory_is_kept_by(const struct memory *memory, pid_t pid);

/* As fd_store_barrier(). */
int memory_barrier(struct memory *memory, void (*done)(void *owner), void *owner);
void memory_cancel_barriers(struct memory *memory, const void *owner);

#endif
