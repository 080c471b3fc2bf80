/*
 * The command of HealthCheck=exec: one run in a process tree of its own, killed when it is not
 * wanted any more. It outlives its caller then, until the kernel has ended all of it. When the
 * broker dies the command is killed, too, and what it had started by the next broker's start, which
 * knows its cgroup by the name; without cgroups, or before Linux 5.14, that goes on.
 */
#ifndef COMPONENTS_HEALTH_COMMAND_H
#define COMPONENTS_HEALTH_COMMAND_H

#include <stdbool.h>

#include "components/health.h"

struct health_command;

/* done() is called once from the loop; text as in health.h. 0, -EAGAIN, -ENOMEM, -EMFILE. */
int health_command_start(struct health_command **ret, struct loop *loop, struct log *log,
                         const struct health_target *target,
                         void (*done)(void *owner, bool good, const char *text), void *owner);
/* Kills it; done() is not called any more. NULL allowed; returns NULL. */
struct health_command *health_command_stop(struct health_command *command);

#endif
