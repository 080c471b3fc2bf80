/* A configuration of a component, and a process that is started by it, for tests. */
#ifndef TESTS_COMPONENT_SUPPORT_H
#define TESTS_COMPONENT_SUPPORT_H

#include <stdio.h>

#include "components/spawn.h"
#include "config/component_config.h"
#include "core/loop.h"

/* What a test cannot try here, and why. */
#define SKIP_UNLESS(condition, reason)                                                             \
        do {                                                                                       \
                if (!(condition)) {                                                                \
                        printf("skipped: %s: %s\n", __func__, reason);                             \
                        return;                                                                    \
                }                                                                                  \
        } while (0)

/* As the configuration's defaults; no memory of its own. */
static inline struct component_config component_defaults(void) {
        static char *nothing[] = {NULL};

        return (struct component_config){
                .name = "web",
                .environment = nothing,
                .pass_environment = nothing,
                .umask = 0022,
                .success = {.status = {1}},
                .instances = 1,
        };
}

/* `sh -c script`, with its dollars left to the shell. */
#define SHELL(script)                                                                              \
        ((struct command){.path = "/bin/sh",                                                       \
                          .arguments = (char *[]){"sh", "-c", (script), NULL},                     \
                          .no_variables = true})

#endif
