/*
 * Descriptors that were given to us at start: by systemd's socket activation today, by its fd store
 * or the keeper after a crash. Whoever needs a socket looks here first and binds only what is
 * missing. What nobody claims stays open.
 */
#ifndef CORE_INHERITED_H
#define CORE_INHERITED_H

#include <stddef.h>
#include <sys/socket.h>

struct inherited;
struct log;

/*
 * From LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES, which are removed from the environment. An empty
 * collection when nothing was given. 0, -ENOMEM, -EINVAL (malformed variables, logged).
 */
int inherited_from_environment(struct inherited **ret, struct log *log);
int inherited_new(struct inherited **ret);
struct inherited *inherited_free(struct inherited *all); /* closes what was not claimed */

/* Takes fd, also when it fails: -ENOMEM. */
int inherited_put_fd(struct inherited *all, const char *name, int fd);

/*
 * The same for one that we had kept for ourselves under `id` (keeper/memory.h); `name` is whose it
 * was.
 */
int inherited_put_kept_fd(struct inherited *all, const char *name, const char *id, int fd);

size_t inherited_count(const struct inherited *all);
const char *inherited_name(const struct inherited *all, size_t index);
const char *inherited_id(const struct inherited *all, size_t index); /* NULL: not kept */
int inherited_peek_fd(const struct inherited *all, size_t index);

/*
 * Claim one: the descriptor is the caller's from now on, later indexes move down by one.
 */
int inherited_take_fd(struct inherited *all, size_t index);
/* The last one of that name; -1 when there is none. */
int inherited_take_named(struct inherited *all, const char *name);

#endif
