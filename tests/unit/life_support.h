/*
 * A table of components that lives in the test, without a daemon: listeners, a memory whose keeper
 * is the test, and the lines of the log. Broker after broker can live in one process.
 */
#ifndef TESTS_LIFE_SUPPORT_H
#define TESTS_LIFE_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "components/component_table.h"
#include "components/instance_private.h"
#include "keeper/state.h"
#include "table_support.h"
#include "tree_support.h"

#define LIFE_KEPT_MAX 256

struct scene {
        struct world *w;
        struct log *log;
        struct component_table *table;
        struct memory *memory; /* NULL: nothing outlives it */
        int keeper;
        struct {
                char id[STATE_ID_SIZE];
                int fd;
        } kept[LIFE_KEPT_MAX]; /* by the keeper */
        size_t n_kept;
        char said[32768]; /* the log */
        /* As the last one was that has stopped: it is freed in the same turn of the loop. */
        struct instance ended;
        unsigned n_ended;
};

void life_begin(struct scene *l, bool remembers);
/* Listeners and components as the text says; those that are to run are started. */
void life_apply(struct scene *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Processes are found by their groups, also where cgroups are to be had. After life_apply(). */
void life_use_groups(struct scene *l);
/* Stops all that runs and frees all. */
void life_end(struct scene *l);
/* The broker dies, its components go on; the next one begins with what the keeper has. */
void life_die(struct scene *l, struct scene *next);

struct component *life_component(const struct scene *l, const char *name);
/* The instance of this generation; NULL when it is gone. */
struct instance *life_instance(const struct scene *l, const char *name, uint64_t generation);
bool life_is(const struct scene *l, const char *name, enum component_state state);
/* An instance outside of any operation, as far as instance_new(). */
struct instance *life_make(struct scene *l, const char *name);
bool life_said(const struct scene *l, const char *part);
void life_turn(struct scene *l); /* of the loop */
/* Run for so long: for what is not to happen. */
void life_pass(struct scene *l, unsigned long msec);
/*
 * The time that it has in its state is over now. For what must have been seen before that, on a
 * machine that takes as long for it as it likes: the test waits for it, with a deadline far off,
 * which is this minute's.
 */
void life_let_pass(struct instance *i);
/* Names with blanks between them; NULL: all. */
struct job *life_begin_job(struct scene *l, enum job_kind kind, const char *id, const char *names);
/* Until it has its verdict and its receipt; the item of this name. */
const struct receipt *life_receipt(struct scene *l, struct job *job, const char *name);

bool life_exists(const char *name); /* a file of the private folder */
/* What a file of the private folder says, without newlines; "" when there is none. */
const char *life_read(const char *name);

#define LIFE_UNTIL(l, condition)                                                                   \
        do {                                                                                       \
                while (!(condition))                                                               \
                        life_turn(l);                                                              \
        } while (0)

#endif
