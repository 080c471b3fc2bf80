/* A component of a configuration as JSON, for `fdpass check`. */
#ifndef CLI_CHECK_COMPONENT_H
#define CLI_CHECK_COMPONENT_H

#include <jansson.h>

struct component_config;

json_t *check_component(const struct component_config *component);

#endif
