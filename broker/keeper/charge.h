/*
 * Who starts the next broker while one keeper takes the place of another: an eventfd that counts to
 * one. Both have it and both have everything; whichever draws the one is in charge, so that at no
 * moment neither would start a broker, or both.
 */
#ifndef KEEPER_CHARGE_H
#define KEEPER_CHARGE_H

#include <stdbool.h>

struct fd_store;

/*
 * In the broker: a charge for the keeper that is linked, before it is left for another. The
 * descriptor is the caller's, close-on-exec, and to be said to that other; -1 when this one is not
 * told, because it is stopped or behind, or for want of descriptors.
 */
int charge_share(struct fd_store *store);

/* In a keeper whose broker died: is it in charge? *fd is closed; of -1 the answer is yes. */
bool charge_draw(int *fd);

#endif
