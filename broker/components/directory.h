/*
 * RuntimeDirectory= and its like on the file system. For children of ours only: it blocks, and with
 * directory_make() the mode creation mask has to be 0. What is below the base may be in the hands
 * of a component's user, and whoever calls this root: so the path is walked as in trusted_path.h.
 */
#ifndef COMPONENTS_DIRECTORY_H
#define COMPONENTS_DIRECTORY_H

#include <stdbool.h>
#include <sys/types.h>

struct component_config;

struct directory {
        const struct component_config *component;
        const char *base; /* absolute; made when it is missing, 0755 as all parents */
        const char *name; /* relative, without ".." */
        mode_t mode;
        uid_t uid; /* (uid_t) -1, (gid_t) -1: as it is */
        gid_t gid;
        bool leave_existing; /* one that is there keeps owner and mode */
};

/*
 * It is there, with this owner and mode. When it was another's, so is what that one has in it now,
 * except files that have a second name, what is mounted, and links where they would be ours. 0 or
 * -errno, and in `what`, for people, what it is about; among others what trusted_path.h says, and
 * -EPERM for another's that others could have put there, unless it is empty.
 */
int directory_make(const struct directory *directory, char *what, size_t size);

/*
 * It is not there any more, nor what it contained; what is mounted in it stays. 0, also when it was
 * not there, or the first -errno, as above; what can be removed is.
 */
int directory_remove(const struct directory *directory, char *what, size_t size);

#endif
