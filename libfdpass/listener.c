/*
 * The one call that most programs need: what was passed at start, else what the broker lends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "activation.h"
#include "cleanup.h"
#include "connection.h"
#include "names.h"

/* One deadline for connecting and asking. The lease is the process's and survives the connection.
 */
static int ask_broker(const char *name, int **ret_fds) {
        int64_t deadline = deadline_in(DEFAULT_TIMEOUT_MSEC);
        struct fdpass *c;
        int r;

        r = connection_open(&c, NULL, deadline);
        if (r < 0)
                return r;
        r = fdpass_set_timeout(c, deadline_poll(deadline));
        /* 0 milliseconds are left, which is no timeout: the wait for the broker took them all. */
        r = r < 0 ? -ETIMEDOUT : fdpass_acquire_all(c, name, ret_fds);
        fdpass_close(c);
        return r;
}

int fdpass_listeners(const char *name, int **ret_fds) {
        int passed, r;

        if (!name || !name_is_valid(name, strlen(name)) || !ret_fds)
                return -EINVAL;
        passed = activation_take(name, ret_fds);
        if (passed > 0 || (passed < 0 && passed != -ENOENT))
                return passed;
        r = ask_broker(name, ret_fds);
        /* Without a broker, what is wrong is that the name is not among those passed. */
        return r == -EHOSTDOWN && passed == -ENOENT ? -ENOENT : r;
}

int fdpass_listener(const char *name) {
        _cleanup_free_ int *fds = NULL;
        int n = fdpass_listeners(name, &fds);

        if (n <= 0)
                return n;
        if (n == 1)
                return fds[0];
        while (n > 0)
                close_fd(fds[--n]);
        return -ENOTUNIQ;
}
