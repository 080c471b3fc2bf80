/* What was passed at start by LISTEN_FDS. Not installed. */
#ifndef FDPASS_ACTIVATION_H
#define FDPASS_ACTIVATION_H

/* sd_listen_fds(3): 0 to 2 are standard input, output and error. */
#define LISTEN_FDS_START 3

/*
 * Duplicates of the passed descriptors that are called `name` or `name`.socket, in order; or of the
 * only one, when no names were passed at all.
 *
 * Returns their number, with *ret_fds for the caller to free(3); 0 when none was meant;
 * -ENOENT when descriptors were passed but none of that name; -EINVAL, -EBADF as
 * fdpass_listen_fds(); -EMFILE, -ENOMEM.
 */
int activation_take(const char *name, int **ret_fds);

#endif
