/* Owning and comparing the parts of a configuration, for the files of this folder. */
#ifndef CONFIG_PARTS_H
#define CONFIG_PARTS_H

#include "config/component_config.h"
#include "config/config.h"

/* Of one in parts. */
void socket_config_drop_addresses(struct socket_config *s);
/* What it owns, not itself; it is zeroed. */
void socket_config_clear(struct socket_config *s);
void broker_config_clear(struct broker_config *b);

/* What a component has before anything is said about it. */
const struct component_config *component_config_defaults(bool is_unit_file);

/* Arrays of strings that end with NULL; the array itself may be NULL, which is an empty one. */
void strings_free(char **strings);
size_t strings_count(char *const *strings);
bool strings_equal(char *const *a, char *const *b);
/* Append a copy. 0 or -ENOMEM. */
int strings_add(char ***strings, const char *text);

/* Either may be NULL. */
bool string_equal(const char *a, const char *b);

#endif
