/* The command's side of a conversation with the broker: connect, ask, and say what went wrong. */
#ifndef CLI_CONVERSATION_H
#define CLI_CONVERSATION_H

#include <stdint.h>

#include "cli/command.h"
#include "client.h"

/* For conversation_open(): wait for a broker without end. */
#define WAIT_FOR_EVER UINT64_MAX

/*
 * Before anything is asked: STATUS_OK, or STATUS_NO_LISTENER after saying that no `noun`
 * ("component") can have this name.
 */
int conversation_check_name(const char *noun, const char *name);

/*
 * Connect to the broker; where none answers, try again for wait_usec. Returns STATUS_OK, or an exit
 * status after saying why.
 */
int conversation_open(const struct cli *cli, uint64_t wait_usec, struct fdpass **ret);

/*
 * Say why `what` ("listener 'web'", "the status") could not be had, in the broker's words if it
 * said anything, and what to do. `r` is the negative errno of a call on `c`. Returns the exit
 * status.
 */
int conversation_failed(const struct fdpass *c, const char *what, int r);

/* Likewise for a listener by name; when there is none of that name, with the nearest that is. */
int conversation_failed_listener(struct fdpass *c, const char *name, int r);

/* Likewise for components: when one of them is not there, that one and the nearest that is. */
int conversation_failed_components(struct fdpass *c, char *const *names, size_t n_names, int r);

/* There is neither a listener nor a component of this name; says so, with the nearest that is. */
int conversation_none_of_name(struct fdpass *c, const char *name);

#endif
