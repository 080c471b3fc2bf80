/*
 * RuntimeDirectory= and its like on the file system. For children of ours only: it blocks, and with
 * directory_make() the mode creation mask has to be 0.
 *
 * What stands below the base may be in the hands of a component's user, and whoever calls this may
 * be root: so each part of a path is opened by itself, and a symbolic link is followed only where
 * nobody but root and we could have put it.
 */
#ifndef COMPONENTS_DIRECTORY_H
#define COMPONENTS_DIRECTORY_H

#include <stdbool.h>
#include <sys/types.h>

struct directory {
        const char *base; /* absolute; made when it is missing, 0755 as all parents */
        const char *name; /* relative, without ".." */
        mode_t mode;
        uid_t uid; /* (uid_t) -1, (gid_t) -1: as it is */
        gid_t gid;
        bool leave_existing; /* one that is there keeps owner and mode */
};

/*
 * It is there, with this owner and mode. When it was another's, so is what that one has in it now,
 * except files that have a second name and what is mounted. 0 or -errno: -ELOOP for a symbolic link
 * that others could have put there, -ENOTDIR for what is no directory.
 */
int directory_make(const struct directory *directory);

/*
 * It is not there any more, nor what it contained; what is mounted in it stays. 0, also when it was
 * not there, or the first -errno; what can be removed is.
 */
int directory_remove(const char *base, const char *name);

#endif
