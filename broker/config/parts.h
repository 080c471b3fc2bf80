/* Releasing the parts of a configuration, for the files of this folder. */
#ifndef CONFIG_PARTS_H
#define CONFIG_PARTS_H

#include "config/config.h"

/* Of one in parts. */
void socket_config_drop_addresses(struct socket_config *s);
/* What it owns, not itself; it is zeroed. */
void socket_config_clear(struct socket_config *s);
void broker_config_clear(struct broker_config *b);

#endif
