/*
 * The keeper: the process beside the broker that holds a copy of every descriptor. It is what was
 * started as `fdpassd`; it starts the broker as its child, hands it what it keeps, starts it again
 * when it dies, forwards signals to it, reaps (as PID 1 of a container everything there is), and
 * ends with it. It parses nothing from outside: its only peer is the broker, over a socketpair.
 *
 * It uses core/ alone and needs no configuration, so that there is little in it that can fail.
 */
#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H

#include <sys/types.h>

struct log;

/* How the broker finds its keeper: descriptor number of its end of the socketpair. */
#define KEEPER_LINK_ENV "FDPASS_KEEPER_LINK"
/* How a second keeper finds the broker that made it: its pidfd. The link is in KEEPER_LINK_ENV. */
#define KEEPER_BROKER_ENV "FDPASS_KEEPER_BROKER"

/* With this a broker exits that found another one running: fdpassd(8). */
#define KEEPER_STATUS_RUNNING 4

struct inherited;

struct keeper_options {
        char **argv; /* with which the broker is executed; argv[0] is for show */
        struct log *log;
        struct inherited *inherited; /* what we were started with, for the first broker; or NULL */
        int link_fd, broker_fd;      /* of a broker that lives and made us; else -1. Taken. */
};

/*
 * Run until the broker has ended by its own decision; then return its exit status for exit(3), or
 * 128 + the signal when it died of another than SIGKILL after it had said STOPPING. One that dies
 * between being told to end and that is followed by another, which is told so at its start; after
 * some that died of it: EXIT_FAILURE. Having nothing to keep, also until the broker exits with
 * KEEPER_STATUS_RUNNING; else that one, too, is followed by another.
 *
 * The broker is started from a descriptor of our own executable (/proc/self/exe, opened once), so
 * that a package upgrade or a deleted file does not matter to a restart after a crash.
 */
int keeper_run(const struct keeper_options *options);

/*
 * In a broker whose keeper is dead: start another one, by executing our own program with `argv`.
 * *ret_pidfd is for loop_put_child(). Returns the broker's end of the link to it, or -EAGAIN,
 * -ENOMEM, -EMFILE.
 */
int keeper_start(char **argv, int *ret_pidfd);

#endif
