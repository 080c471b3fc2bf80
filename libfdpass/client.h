/*
 * One request, one answer, over a connection: what the public calls and the fdpass command are made
 * of. Not installed.
 */
#ifndef FDPASS_CLIENT_H
#define FDPASS_CLIENT_H

#include "fdpass.h"
#include "grammar.h"
#include "message.h"

/* An answer with its descriptors; views into message.data. Freed by answer_free(). */
struct answer {
        struct message message;
        struct assignments assignments;
};

/*
 * Send the request (which must have been begun with VERB=…; this adds SERIAL=) and wait for its
 * answer, queueing events that come meanwhile. Reconnects and repeats as fdpass_acquire() says.
 * SCM_RIGHTS duplicates: the caller's fds stay the caller's.
 *
 * Not for an answer in several parts (PARTS=), which breaks the conversation:
 * fdpass_acquire_named() takes those.
 *
 * Returns 0 with *ret_answer for the caller to answer_free(); or the errno that the broker answered
 * (see fdpass_error()), as a rule with *ret_answer too, because the refusal of APPLY brings a
 * document; -EREMOTEIO for one that this library does not know; -EMSGSIZE when the request did not
 * fit into a packet; or as fdpass_acquire(), with *ret_answer untouched.
 */
int fdpass_call(struct fdpass *c, struct packet_writer *request, const int *fds, size_t n_fds,
                struct answer **ret_answer);

/*
 * Hand each event that comes while a call waits to `hear` instead of queueing it; it is valid until
 * that returns, and must not use the connection. NULL: queue again.
 */
void fdpass_hear_events(struct fdpass *c,
                        void (*hear)(void *owner, const struct assignments *event), void *owner);

/*
 * How long a call looks for a broker that hung up, in milliseconds: for calls that may take for
 * ever while there is one. -1, as at first: until the call's timeout. `away` is told when it has
 * looked for two seconds in vain, which no restart of a broker takes; it must not use the
 * connection. NULL: nobody is told.
 */
void fdpass_set_patience(struct fdpass *c, int milliseconds, void (*away)(void *owner),
                         void *owner);

/*
 * fdpass_acquire_all(), and *ret_fd_name is the listener's name for LISTEN_FDNAMES, for the caller
 * to free(3).
 */
int fdpass_acquire_named(struct fdpass *c, const char *name, int **ret_fds, char **ret_fd_name);

/* Closes the descriptors that nobody took. NULL is allowed. Returns NULL. */
struct answer *answer_free(struct answer *answer);

#endif
