/* Condition…= and Assert…=, looked at. For children of ours only: it blocks. */
#ifndef COMPONENTS_CONDITION_H
#define COMPONENTS_CONDITION_H

#include <stddef.h>

#include "config/component_config.h"

/*
 * The index of the first one that keeps the component from being started, or how many there are
 * when none does. Of those with "|" one that is met is enough; conditions come before assertions.
 */
size_t conditions_find_unmet(const struct conditions *conditions);

#endif
