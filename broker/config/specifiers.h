/* "%t", "%i" and the like: what systemd.unit(5) calls specifiers, where they make sense here. */
#ifndef CONFIG_SPECIFIERS_H
#define CONFIG_SPECIFIERS_H

#include <stddef.h>
#include <sys/types.h>

#include "config/identity.h"

#define SPECIFIERS_RESULT_MAX 8192
#define SPECIFIERS_REASON_SIZE 256

struct specifier_context {
        const char *unit; /* "web", or "web.socket" for a unit file; NULL in [Broker] */
        const char *name; /* "web" */
        uid_t uid;        /* of the broker: 0 gets the system's folders, others their own */
        gid_t gid;
        struct identities *identities;
        /* For "%{port:NAME}" and "%{fd:NAME}", where listeners are known; NULL elsewhere. kind is
         * what stands before the ':'. Gives 0, or -EINVAL with the reason. */
        int (*listener)(void *owner, const char *kind, const char *name,
                        char reason[SPECIFIERS_REASON_SIZE], unsigned *ret);
        void *owner;
};

/*
 * Expand `text`. *ret is for the caller to free(3). On failure `reason` says what would be right.
 *
 * Returns 0, -EINVAL (no such specifier, or it has no value here), -E2BIG (the result is longer
 * than SPECIFIERS_RESULT_MAX), -ENOMEM.
 */
int specifiers_expand(const struct specifier_context *context, const char *text, char **ret,
                      char reason[SPECIFIERS_REASON_SIZE]);

/* The same for an address: in "[fe80::1%eth0]:80" the '%' begins the interface. */
int specifiers_expand_address(const struct specifier_context *context, const char *text, char **ret,
                              char reason[SPECIFIERS_REASON_SIZE]);

#endif
