/*
 * The way along a path on which others may have a hand. For children of ours only: it blocks.
 *
 * Whoever walks may be root, and a folder on the way a component's user's. So it goes name by name,
 * by descriptors, and follows a symbolic link only where nobody but us could have put it: "us" is
 * root and our own user. A group that may write is not us, but is trusted unless the component's
 * user is in it: it may be one of administrators, as that of /var/log often is.
 */
#ifndef COMPONENTS_TRUSTED_PATH_H
#define COMPONENTS_TRUSTED_PATH_H

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/component_config.h"

enum hands {
        HANDS_OURS,   /* nobody else could have put the folder there, nor a name in it */
        HANDS_STICKY, /* others could have put a name in it, also a link of ours from elsewhere */
        HANDS_OTHERS,
};

struct trusted_path {
        const struct component_config *component; /* whose user is not trusted */
        const char *refusal; /* of a link that others could have put there: what it is */
        char *what; /* for people: the path; before it what to do where errno does not tell */
        size_t what_size;
        bool makes;        /* folders that are missing, 0755 less umask; none that a link names */
        bool follows_last; /* its links, too */

        int folder; /* owned, O_PATH: where it has come to; -1 before */
        struct stat status;
        enum hands hands;        /* that the folder is in */
        enum hands above;        /* … and the one that it was found in */
        char name[NAME_MAX + 1]; /* what comes next */
        bool is_linked;          /* a link says the name, not the path */
        unsigned links;
        size_t own;          /* so much of the rest, at its end, is of the path */
        char rest[PATH_MAX]; /* what comes after the name */
};

static inline bool trusted_path_is_ours(uid_t uid) {
        return uid == 0 || uid == geteuid();
}

/*
 * From a folder, which is opened as it stands, to the last name of the rest. 1 for a link that the
 * kernel alone can follow, and may: those below /proc are no paths. 0, or -errno: -EISDIR when the
 * rest leads to no name, -EPERM for what others could have put in the way.
 */
int trusted_path_walk(struct trusted_path *path, const char *start, const char *rest);
/* Into the folder of that name, links or not. */
int trusted_path_enter(struct trusted_path *path);
/* `what` says what the name, or the last one of a path, is. Returns the error. */
int trusted_path_refuse(const struct trusted_path *path, const char *name, const char *is,
                        int error);

#endif
