/* Documents of STATUS that are still being written. */
#ifndef CONTROL_STATUS_H
#define CONTROL_STATUS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "control/document.h"
#include "control/serial.h"
#include "core/loop.h"
#include "names.h"

struct control;
struct helper;
struct queue_map;
struct session;

/* One STATUS. Its session is not read until it is answered. */
struct status_job {
        TAILQ_ENTRY(status_job) entry;
        struct session *session;
        struct serial serial;
        bool counted;             /* connections of components, if that could be done */
        bool begun;               /* the document is open */
        struct queue_map *queues; /* of all Unix sockets; NULL: each is asked for */
        bool reads_queues;        /* they are not complete yet */
        struct document document;
        uint64_t listeners, leases, components; /* written so far */
        /* What was asked for: `last` of each; without a name all that the peer may see. */
        bool named, named_listener, named_component;
        bool in_listener; /* `last` is being written: its sockets from next_socket on */
        size_t next_socket;
        bool in_components; /* the listeners are all there, and `last` is a component's name */
        char last[NAME_LENGTH_MAX + 1];
};

TAILQ_HEAD(status_queue, status_job);

/* In order of arrival; only the first one's document is open. */
struct status_jobs {
        struct status_queue queue;
        struct timer turn;
        struct helper *census; /* the first job waits for it; NULL */
};

void status_init(struct status_jobs *jobs);

/* The session ends: so does its job. Nothing when it has none. */
void status_forget(struct session *session);

#endif
