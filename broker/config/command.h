/* Command lines of a component, as values: see component_config.h. */
#ifndef CONFIG_COMMAND_H
#define CONFIG_COMMAND_H

#include "config/component_config.h"

/* What it owns, not itself; it is zeroed. */
void command_clear(struct command *command);
void command_list_clear(struct command_list *list);

bool command_equal(const struct command *a, const struct command *b);
bool command_list_equal(const struct command_list *a, const struct command_list *b);

#endif
