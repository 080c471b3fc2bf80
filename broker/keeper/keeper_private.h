/* The inside of the keeper, for its two files. */
#ifndef KEEPER_KEEPER_PRIVATE_H
#define KEEPER_KEEPER_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grammar.h"
#include "keeper/keeper.h"
#include "keeper/kept.h"
#include "message.h"

struct keeper {
        const struct keeper_options *options;
        struct log *log;
        int executable_fd;
        int signal_fd;
        int link_fd;          /* to the broker; -1 between two brokers */
        int broker_fd;        /* its pidfd; -1 between two brokers */
        int charge_fd;        /* who reads it is in charge; -1: nobody else has one */
        bool gives_nothing;   /* nothing was kept when the broker was started */
        bool is_ready;        /* the broker serves */
        bool executing;       /* the broker became a program that is not ready yet */
        bool was_ready;       /* some broker served: from now on never give up */
        bool told_to_end;     /* SIGTERM or SIGINT went to the broker */
        bool told_again;      /* and once more: whatever it still waits for is to be killed */
        bool handing_over;    /* kept descriptors are being sent */
        bool too_many;        /* in flight: the kernel does not tell when it takes more */
        bool stopping;        /* the broker said so */
        bool made;            /* by a broker, so that one from outside may take our place */
        bool waits;           /* another keeper is in charge until the broker says SOLE */
        unsigned n_finishers; /* brokers that were started to end in the place of one that died */
        size_t n_sent_inherited;
        struct kept *next_sent;
        struct inherited *inherited; /* until some broker was ready; NULL then */
        uint64_t started_usec;       /* the broker */
        uint64_t start_usec;         /* when to start the next one; 0: not waiting */
        uint64_t interval_usec;
        uint64_t apply_usec;    /* the last SIGHUP */
        uint64_t orphaned_usec; /* when to end without a link to a living broker; 0: linked */
        struct kept *kept;
        struct message message;
        struct packet_writer writer;
};

/* Forget one and close it. */
void keeper_drop(struct keeper *k, struct kept *e);

/* Whoever has ended and is our child, but for the broker, whose end is looked at on its own. */
void keeper_reap(struct keeper *k);

/* Handle everything that the link has: also what a broker sent before it died. */
void keeper_read_link(struct keeper *k);

/* After an exec of the keeper in its own place, or in one that a broker made: what was passed. */
void keeper_take_over(struct keeper *k);

#endif
