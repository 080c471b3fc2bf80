/*
 * The configuration in force, kept for the broker's next life: after a crash the same is in force
 * again, whatever has been done to the files meanwhile. A broker that ends of its own will forgets
 * it, so that the next start reads the files.
 */
#ifndef CONFIG_KEPT_CONFIG_H
#define CONFIG_KEPT_CONFIG_H

#include "config/config.h"

struct memory;

#define KEPT_CONFIG_KIND "config" /* RECORD= of its record; its descriptor is the memfd */
#define KEPT_CONFIG_MEMFD "fdpass-config"

/*
 * Keep `config`. *fd is the memfd that was kept before (-1: none); it is closed and replaced.
 * 0, or a negative errno (logged) with nothing kept.
 */
int kept_config_put(struct memory *memory, const struct config *config, int *fd, struct log *log);

/* Of such a memfd, which stays the caller's. Errors as config_load(), with the reasons logged. */
int kept_config_read(int fd, struct log *log, struct config **ret);

void kept_config_remove(struct memory *memory, int *fd);

/*
 * What is to be in force at the start: what is kept, if something is; else what `path` says. When
 * both say the same, the files' one is returned, which knows places. `diagnostics` are those of the
 * files. *ret_fd is for kept_config_put().
 * 1 when exactly this is kept already, 0 when it is to be kept (again); errors as config_load().
 */
int kept_config_load(struct memory *memory, const char *path, struct diagnostics *diagnostics,
                     struct log *log, struct config **ret, int *ret_fd);

#endif
