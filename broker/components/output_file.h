/*
 * file:, append: and truncate: of StandardOutput= and StandardError=. For children of ours only: it
 * blocks, though not for long.
 *
 * The child opens them before it changes its user, as systemd does, so that a program may write
 * where its user may not. The folder may be in that user's hands all the same (LogsDirectory=): so
 * root goes there as in trusted_path.h, and refuses a file that somebody else can have linked
 * there. Who is not root can do no more than the program, and opens as that would.
 */
#ifndef COMPONENTS_OUTPUT_FILE_H
#define COMPONENTS_OUTPUT_FILE_H

#include <stddef.h>

#include "config/component_config.h"

/*
 * The descriptor, close-on-exec, of a file that is made when it is missing; or -errno, and in
 * `what`, for people, what it is about: the path, before it what to do where errno does not tell.
 */
int output_file_open(const struct component_config *component, const struct output_config *output,
                     char *what, size_t size);

#endif
