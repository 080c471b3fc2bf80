/*
 * Which sections and keys a file may have: fdpass.conf is strict, a systemd unit file is read as
 * systemd reads it. Puts what it finds into the draft.
 */
#ifndef CONFIG_DIALECT_H
#define CONFIG_DIALECT_H

#include <stddef.h>

#include "config/draft.h"

/*
 * Read fdpass.conf or a drop-in of it. A section that another file has begun goes on
 * here; twice in one file is an error.
 *
 * 0, also when errors were reported; -ENOMEM.
 */
int dialect_read_fdpass(struct draft *draft, const char *file, const char *data, size_t size);

enum unit_kind { UNIT_SOCKET, UNIT_SERVICE };

/*
 * Read NAME.socket or NAME.service, or a drop-in of it. The first file read of a name begins the
 * listener or the component. As above.
 */
int dialect_read_unit(struct draft *draft, enum unit_kind kind, const char *name, const char *file,
                      const char *data, size_t size);

#endif
