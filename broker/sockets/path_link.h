/*
 * The hard link to a Unix listener's socket file that the broker keeps for the day when a program
 * unlinks the public path: DIRECTORY/.fdpass-UID/NAME, in a folder of mode 0700 that is ours.
 */
#ifndef SOCKETS_PATH_LINK_H
#define SOCKETS_PATH_LINK_H

#include <sys/stat.h>

/*
 * Link `path`, which lstat(2) shows as `file`, into the private folder. A link of that name that is
 * left from a broker that was killed is used when it is to the same file and replaced when nobody
 * is behind it any more; else another name is taken. *ret_link says which, for the others here; 0
 * is no link. 0; -EPERM (the folder is there and is not private and ours, or the kernel forbids the
 * link), -EXDEV, -EEXIST (too many left by living sockets), -ENOMEM, or another error of mkdir(2),
 * open(2) or linkat(2).
 */
int path_link_make(const char *path, const struct stat *file, unsigned char *ret_link);

/* Remove link and, when it is empty, folder. Nothing for 0. */
void path_link_remove(const char *path, unsigned char link);

/*
 * Link the public path again. -EEXIST when something stands there; -ENOENT when the link or the
 * folder of the path is gone or link is 0.
 */
int path_link_put_back(const char *path, unsigned char link);

/* Put the link in place of what stands at the path, without a moment in which nothing does. */
int path_link_put_over(const char *path, unsigned char link);

#endif
