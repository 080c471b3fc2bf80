/* Puts a broker together from its parts, and takes it apart. Knows every folder, and only this
 * does. */
#ifndef FDPASSD_ASSEMBLE_H
#define FDPASSD_ASSEMBLE_H

#include "core/broker.h"

struct config;
struct inherited;
struct memory;

/* What a broker is made of; all of it is the broker's from broker_new() on, also when that fails.
 */
struct broker_parts {
        const char *config_path; /* copied: what an apply will load again */
        struct config *config;
        struct inherited *inherited;
        struct memory *memory; /* NULL: nothing outlives the broker */
        int config_fd;         /* from kept_config_load(); -1 */
        bool config_is_kept;   /* as it is: need not be kept again */
};

/*
 * Make a broker that holds what the configuration says and answers at its control socket; from what
 * was kept or inherited where there is such, else bound. Loop and log stay the caller's.
 *
 * Each thing that is wrong is in the log. Returns 0, -EINVAL (a socket could not be had),
 * -EADDRINUSE (a broker is already running at this control socket), -EALREADY (one is, and has
 * taken the keeper of this process for its own), or another negative errno.
 */
int broker_new(struct broker **ret, struct loop *loop, struct log *log,
               const struct broker_parts *parts);

/*
 * Closes everything that the broker holds; what is kept of it is left as it is. NULL is allowed.
 * Returns NULL.
 */
struct broker *broker_free(struct broker *broker);

#endif
