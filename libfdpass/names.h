/* What a listener may be called. One function decides, for configuration, protocol and library. */
#ifndef FDPASS_NAMES_H
#define FDPASS_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* The limit of FDNAME in systemd's fd store, sd_pid_notify_with_fds(3). */
#define NAME_LENGTH_MAX 255

/* 1 to 255 of A-Z a-z 0-9 . _ @ - and not starting with '.' or '-'. Hence no colon (it separates
 * LISTEN_FDNAMES) and no slash (names become file names). */
bool name_is_valid(const char *name, size_t length);

#endif
