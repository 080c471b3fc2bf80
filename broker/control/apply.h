/* The one apply that is under way, from APPLY or SIGHUP until its answer. */
#ifndef CONTROL_APPLY_H
#define CONTROL_APPLY_H

#include <stdbool.h>

#include "config/diagnostics.h"
#include "control/serial.h"
#include "control/settling.h"
#include "sockets/listener_table.h"

struct control;
struct helper;

/*
 * The answer to an APPLY that is in force and waits until the keeper has what is new: a listener is
 * announced when it cannot be lost any more. One at a time; a reload need not wait for it.
 */
struct apply_answer {
        struct settlement settlement;
        bool waiting;
        struct session *session; /* NULL: it has ended */
        struct serial serial;
        struct apply_result result;
        int document; /* owned while waiting; -1: there is nothing to say */
        size_t size;
};

/* Those for which there is memory; all are in the log. */
struct component_names {
        char **names;
        size_t count;
};

struct apply {
        bool running;
        bool again; /* a reload came meanwhile */
        /* Who is to be answered: NULL when it was a reload, or when the session ended meanwhile. */
        struct session *session;
        struct serial serial;
        struct apply_answer answer;
        struct diagnostics diagnostics;
        struct apply_result result;
        /* components that are configured only now, or no more */
        struct component_names added, removed;
        struct helper *helper; /* finds out who has the addresses that are in use */
};

/* APPLY without a session. */
void apply_reload(struct control *control);

/* The session ends: do not answer it. */
void apply_forget(struct apply *apply, const struct session *session);

void apply_cancel(struct apply *apply);

#endif
