/* A component of a configuration, for `fdpass check`. */
#ifndef CLI_CHECK_COMPONENT_H
#define CLI_CHECK_COMPONENT_H

#include <jansson.h>

struct component_config;
struct diagnostics;

json_t *check_component(const struct component_config *component);
/* Warnings of what its start needs and is not there. */
void check_component_paths(const struct component_config *component,
                           struct diagnostics *diagnostics);

#endif
