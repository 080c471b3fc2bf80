/*
 * What keeper and broker say to each other over their socketpair: packets in the grammar of
 * libfdpass, in the form of sd_pid_notify_with_fds(3) where that has one.
 *
 *   broker to keeper   FDSTORE=1 FDNAME=id, one descriptor
 *                      FDSTOREREMOVE=1 FDNAME=id
 *                      BARRIER=n            answered by BARRIER=n when all before it is done
 *                      READY=1              it serves: from now on it is started again when it dies
 *                      EXECUTING=1          another program is about to be executed in its place
 *                      EXECUTABLE=1         with a descriptor: the program to start when it dies
 *                      EXEC=1               the keeper is to execute that program in its place
 *                      ENDING=1             it was told to end and has components to stop: when it
 *                                           dies before that is done, another one is to do it
 *                      STOPPING=1           it ends of its own will: it is not started again
 *                      BROKER=1             with its pidfd: the broker at the other end is this one
 *                                           now; it has another keeper yet
 *                      CHARGE=1             with an eventfd, see charge.h: another keeper has
 *                                           it too
 *                      SOLE=1               it has everything: start the broker again when it dies
 *
 *   keeper to broker   FDNAMES=id:id:…      as many descriptors, what it keeps; at the start only
 *                      END=1                that was all
 *                      BARRIER=n
 */
#ifndef KEEPER_LINK_H
#define KEEPER_LINK_H

#include "grammar.h"
#include "keeper/state.h"

/* Ids in one FDNAMES= packet: descriptors are the tighter bound. */
#define LINK_BATCH_MAX FD_LIST_MAX

/*
 * Among FDNAMES= from a keeper that a broker made for itself: the pidfd of that keeper, for the
 * broker to end it when one from outside takes its place. It is not kept.
 */
#define LINK_MADE_KEEPER "fdpass-keeper"

struct inherited;

/* Both ends: SOCK_SEQPACKET, close-on-exec. 0, -EMFILE, …. */
int link_new(int *ret_keeper_fd, int *ret_broker_fd);

/*
 * In the broker, before its loop: receive what the keeper keeps, into `inherited`. Blocks for at
 * most ten seconds; the keeper is our own parent and has nothing else to do. 0, -ETIMEDOUT,
 * -ECONNRESET (the keeper died), -EBADMSG, -EMFILE, -ENOMEM.
 */
int link_receive_kept(int link_fd, struct inherited *inherited);

#endif
