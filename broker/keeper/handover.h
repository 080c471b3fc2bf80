/*
 * Descriptors that pass an exec in place: a list of "FD NAME" lines in a memfd, whose number is in
 * the environment. Unlike LISTEN_FDS this needs no renumbering, so that an exec that fails leaves
 * everything as it was, and it has no limit of size.
 */
#ifndef KEEPER_HANDOVER_H
#define KEEPER_HANDOVER_H

#include "core/inherited.h"

#define HANDOVER_ENV "FDPASS_HANDOVER"

struct handover;

int handover_new(struct handover **ret); /* 0 or -ENOMEM */

/* fd stays the caller's. The name has no newline. 0 or -ENOMEM. */
int handover_add(struct handover *handover, const char *name, int fd);

/* From now on the next exec gets what was added. 0, -EMFILE, -ENOMEM, ….  */
int handover_pass(struct handover *handover);

/* The exec failed: close-on-exec again. */
void handover_undo(struct handover *handover);
struct handover *handover_free(struct handover *handover);

/*
 * In the program that was executed: put everything that passed into `inherited`, close-on-exec.
 * 1, 0 when we were not started in this way, -EBADMSG, -ENOMEM. What is in it stays open for whom
 * it is meant even when this fails.
 */
int handover_take(struct inherited *inherited);

/*
 * A descriptor of our own that passes the next exec, its number in the environment; and after the
 * exec: close-on-exec again, or -1 when there is none.
 */
void handover_pass_fd(const char *variable, int fd);
int handover_take_fd(const char *variable);

#endif
