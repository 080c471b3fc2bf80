/* The inside of the control object, for the files of this folder and for the tests. */
#ifndef CONTROL_CONTROL_PRIVATE_H
#define CONTROL_CONTROL_PRIVATE_H

#include "control/apply.h"
#include "control/control.h"
#include "control/disposal.h"
#include "control/endpoint.h"
#include "control/session.h"
#include "control/settling.h"
#include "control/status.h"
#include "control/stored.h"
#include "control/upgrade.h"
#include "control/user.h"
#include "control/watch.h"
#include "core/broker.h"
#include "core/log.h"
#include "core/loop.h"
#include "grammar.h"
#include "message.h"
#include "sockets/listener_table.h"
#include "sockets/path_guard.h"

struct control {
        struct broker *broker;
        struct endpoint endpoint;
        struct path_watch *path_watch; /* of the guard, which is not started without it */
        struct path_guard path_guard;
        uid_t uid; /* ours, effective */
        uid_t overflow_uid;
        uint64_t since_usec; /* CLOCK_REALTIME */
        /*
         * The kernel keeps foreign descriptors away from us (SO_PASSRIGHTS=0). Tests clear it to
         * take the path of older kernels.
         */
        bool refuses_descriptors;
        /* Connections of before the socket was adopted may wait in it: they were not kept from it.
         */
        bool accepts_early;

        struct io_watch accept_watch;
        struct timer accept_pause;
        struct rate_limit accept_failures;

        struct session_list sessions;
        unsigned n_sessions; /* ended ones that are not freed yet are counted too */
        struct user_table users;

        unsigned fds_in_flight;     /* of all sessions */
        uint64_t settled_all_usec;  /* when all sessions were last asked what they have read */
        struct rate_limit refusals; /* ETOOMANYREFS */

        /* Sessions that no event of their own will wake; the timer looks after them. */
        struct session_waiting waiting;
        unsigned n_waiting;
        struct timer retry;
        uint64_t retry_usec;

        struct disposal disposal;
        struct settling settling;
        struct stored_table stored;
        struct apply apply;
        struct upgrade upgrade;
        struct {
                bool open; /* the start waits for them: see offer.h */
                struct timer timer;
        } offers;
        struct status_jobs status;
        struct watcher_list watchers;
        struct listener_watcher listener_watcher; /* from the first WATCH on */
        bool serves_components;                   /* the component table calls us */

        /* One packet is handled at a time, so one of each is enough for all sessions. */
        struct message message;
        struct assignments assignments;
        struct packet_writer answer;
        struct packet_writer event; /* events are sent while an answer is being composed */
};

/* Put the session on the list that the retry timer looks after. */
void control_wait(struct session *session);
void control_stop_waiting(struct session *session);

/* A descriptor or a place for a session may be free again. */
void control_resume_accept(struct control *control);

#endif
