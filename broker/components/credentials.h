/*
 * Who a program runs as, and what it may do: user, groups, capabilities(7), no_new_privs. In the
 * child, before it executes the program.
 */
#ifndef COMPONENTS_CREDENTIALS_H
#define COMPONENTS_CREDENTIALS_H

#include "config/component_config.h"

/*
 * For good: nothing of it can be taken back. The capabilities of AmbientCapabilities= are the
 * program's, from exec on. 0, or -errno and what could not be had, a directive or the name of a
 * user: -EPERM for a broker that may not give it.
 */
int credentials_change(const struct component_config *config, const struct command *command,
                       const char **ret_what);

#endif
