/* Puts a broker together from its parts, and takes it apart. Knows every folder, and only this
 * does. */
#ifndef FDPASSD_ASSEMBLE_H
#define FDPASSD_ASSEMBLE_H

#include "core/broker.h"

struct config;
struct inherited;

/*
 * Make a broker that holds what `config` says and answers at its control socket, from `inherited`
 * where that has it. Takes config and inherited, also when it fails; loop and log stay the
 * caller's. `config_path` is what an apply will load again.
 *
 * Each thing that is wrong is in the log. Returns 0, -EINVAL (a socket could not be had),
 * -EADDRINUSE (a broker is already running at this control socket), or another negative errno.
 */
int broker_new(struct broker **ret, struct loop *loop, struct log *log, const char *config_path,
               struct config *config, struct inherited *inherited);

/* Closes everything that the broker holds. NULL is allowed. Returns NULL. */
struct broker *broker_free(struct broker *broker);

#endif
