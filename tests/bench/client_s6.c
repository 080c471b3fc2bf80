/*
 * s6-fdholderd, asked through its own library. Its calls take a deadline and a time stamp that they
 * advance; the deadline here is for ever.
 */
#include <stdlib.h>

#include <s6/fdholder.h>
#include <skalibs/tai.h>

#include "client_kind.h"
#include "measure.h"

static void s6_open(struct connection *c, const char *path) {
        s6_fdholder_t *holder = malloc(sizeof(*holder));
        tain stamp;

        if (!holder || !tain_now(&stamp))
                give_up_errno("no memory or no clock");
        *holder = (s6_fdholder_t) S6_FDHOLDER_ZERO;
        if (!s6_fdholder_start(holder, path, &tain_infinite, &stamp))
                give_up_errno("nobody answers at %s", path);
        c->handle = holder;
}

static int s6_acquire(struct connection *c, const char *name) {
        tain stamp;
        int fd;

        (void) tain_now(&stamp);
        fd = s6_fdholder_retrieve(c->handle, name, &tain_infinite, &stamp);
        if (fd < 0)
                give_up_errno("s6_fdholder_retrieve of %s", name);
        return fd;
}

static void s6_close(struct connection *c) {
        s6_fdholder_end(c->handle);
        free(c->handle);
        c->handle = NULL;
}

const struct client client_s6 = {
        .kind = "s6",
        .open = s6_open,
        .acquire = s6_acquire,
        .close = s6_close,
};
