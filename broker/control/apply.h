/* The one apply that is under way, from APPLY or SIGHUP until its answer. */
#ifndef CONTROL_APPLY_H
#define CONTROL_APPLY_H

#include <stdbool.h>

#include "config/diagnostics.h"
#include "control/lending.h"
#include "core/helper.h"
#include "sockets/listener_table.h"

struct control;

struct apply {
        bool running;
        bool again; /* a reload came meanwhile */
        /* Who is to be answered: NULL when it was a reload, or when the session ended meanwhile. */
        struct session *session;
        struct text serial;
        char serial_text[SERIAL_LENGTH_MAX];
        struct diagnostics diagnostics;
        struct apply_result result;
        struct helper helper; /* finds out who has the addresses that are in use */
};

/* APPLY without a session. */
void apply_reload(struct control *control);

/* The session ends: do not answer it. */
void apply_forget(struct apply *apply, const struct session *session);

void apply_cancel(struct apply *apply);

#endif
