/*
 * Offers: the last of the last resorts. A broker that starts with nothing finds its addresses in
 * use, and cannot take the sockets from who holds them (sockets/hand_back.h): another pid
 * namespace, no right to. Then the holder brings them. A socket that was offered is as good as one
 * that was given at start; what is remembered here is only from whom it came, for its lease.
 */
#ifndef SOCKETS_OFFERS_H
#define SOCKETS_OFFERS_H

#include <stdbool.h>
#include <sys/queue.h>

#include "names.h"

struct address;
struct holder;
struct listener_table;

struct offer {
        struct holder *holder; /* a reference */
        int fd;                /* not owned: it is among the inherited ones */
        LIST_ENTRY(offer) in_table;
        char name[NAME_LENGTH_MAX + 1];
};

LIST_HEAD(offer_list, offer);

/*
 * NULL when fd is a listening stream socket of a broker of our user, in our network
 * namespace and with an address, which is written; else why not, as the end of a sentence: "is …".
 * Safe with any descriptor: nothing but a socket is ever asked more than whether it is one.
 */
const char *offer_refusal(int fd, struct address *ret_address);

/* Remember from whom fd came, for the listener `name`. Takes the reference, also on -ENOMEM. */
int offers_put(struct listener_table *table, struct holder *holder, const char *name, int fd);
bool offers_has(const struct listener_table *table, int fd);

/* The listeners stand: leases for who offered them; nothing is remembered any more. */
void offers_begin_leases(struct listener_table *table);
void offers_clear(struct listener_table *table);

#endif
