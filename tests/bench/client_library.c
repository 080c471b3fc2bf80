/* The public calls of libfdpass, as a program would use them. */
#include <string.h>

#include "client_kind.h"
#include "fdpass.h"
#include "measure.h"

static void library_open(struct connection *c, const char *path) {
        struct fdpass *f;
        int r = fdpass_open(&f, path);

        if (r < 0)
                give_up("fdpass_open of %s: %s", path, strerror(-r));
        c->handle = f;
}

static int library_acquire(struct connection *c, const char *name) {
        int fd, r = fdpass_acquire(c->handle, name, &fd);

        if (r < 0)
                give_up("fdpass_acquire of %s: %s %s", name, strerror(-r), fdpass_error(c->handle));
        return fd;
}

static void library_close(struct connection *c) {
        c->handle = fdpass_close(c->handle);
}

const struct client client_library = {
        .kind = "library",
        .open = library_open,
        .acquire = library_acquire,
        .close = library_close,
};
