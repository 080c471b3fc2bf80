/* Jobs of components whose verdict a session waits for. */
#ifndef CONTROL_OPERATE_H
#define CONTROL_OPERATE_H

#include <stdbool.h>

#include "components/job.h"
#include "control/serial.h"
#include "grammar.h"

struct session;

/* Names in one request. A packet holds these at 63 bytes each, with a space between them. */
#define OPERATE_NAMES_MAX 64
#define OPERATE_NAMES_SIZE (OPERATE_NAMES_MAX * 64 - 1)

/* From START and the like until the answer. Its session's requests are not read meanwhile. */
struct job_wait {
        struct job_listener listener;
        struct session *session;
        struct serial serial;
        char job[JOB_ID_SIZE];
};

/* Is this NAMES=: 1 to OPERATE_NAMES_MAX names with one space between two of them? */
bool operate_names_are_valid(struct text names);
/* Is this JOB=: 1 to 32 of 0-9 a-z A-Z -? */
bool operate_id_is_valid(struct text id);

/*
 * The session is readable while it waits. When that is its end it becomes ENDING; when it is
 * another request, that is left for later.
 */
void operate_on_readable(struct session *session);

/* The session ends: its job goes on, and nobody listens. Nothing when it waits for none. */
void operate_forget(struct session *session);

#endif
