/*
 * Does anything leave the queues of a component? Their lengths do not tell: a full one that is
 * taken from is full again at once. So two looks at who waits are compared; each is a disposable
 * child's.
 */
#ifndef COMPONENTS_QUEUE_MOVES_H
#define COMPONENTS_QUEUE_MOVES_H

struct component;
struct queue_moves;

enum queue_move {
        QUEUE_UNKNOWN, /* it could not be found out */
        QUEUE_SEEN,    /* the first look, with which the next one is compared */
        QUEUE_STILL,   /* all who waited at the last look still do */
        QUEUE_MOVED,
};

/* 0, -ENOMEM. */
int queue_moves_new(struct queue_moves **ret, const struct component *component);
struct queue_moves *queue_moves_free(struct queue_moves *moves); /* NULL allowed; returns NULL */

/*
 * Look, and compare with the look before; done() is called once, from the loop. 0, -EBUSY (one is
 * under way), -EAGAIN, -ENOMEM, -EMFILE.
 */
int queue_moves_look(struct queue_moves *moves, void (*done)(void *owner, enum queue_move move),
                     void *owner);
/* Forget the looks so far, and one that is under way: the next is a first one. */
void queue_moves_forget(struct queue_moves *moves);

#endif
