/* Every bound on what a peer can make us hold. One table; docs/protocol.md shows it. */
#ifndef CORE_LIMITS_H
#define CORE_LIMITS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

struct log;

struct limits {
        unsigned listeners;                 /* sockets held, all listeners together */
        unsigned sessions;                  /* control connections at once */
        unsigned sessions_per_user;         /* of one uid that is neither root nor ours */
        unsigned leases_per_user;           /* likewise */
        unsigned answers_per_session;       /* queued for a peer that does not read */
        unsigned fds_in_flight_per_session; /* sent to a peer and not known to be read */
        unsigned fds_in_flight;             /* the same, all sessions together */
        unsigned stored;                    /* descriptors kept for programs, all together */
        unsigned stored_per_user;           /* of one uid that is neither root nor ours */
        unsigned stored_bytes_per_user;     /* data beside them, likewise */
};

void limits_default(struct limits *ret);

/*
 * Raise our soft RLIMIT_NOFILE to the hard one and clamp the limits so that sessions, leases (a
 * pidfd each) and listeners fit under it with a reserve for our own needs; says in the log what was
 * lowered.
 */
void limits_fit(struct limits *limits, struct log *log);

/*
 * Raise our soft RLIMIT_NOFILE to the hard one and return it. What it was before the first of us
 * did so goes on in the environment ($FDPASS_NOFILE): an exec in place and the keeper's child
 * inherit the raised one, and a program that we run must not (select(2) fails above 1024).
 */
rlim_t limits_raise_nofile(void);
/* In a child that is to exec another program: the soft limit that we were started with. */
void limits_restore_nofile(void);

/* Descriptors that must stay free for accept, apply and helpers. */
#define LIMITS_RESERVE 64

#endif
