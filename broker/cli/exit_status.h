/*
 * What the command's exit status says; fdpass(1) has the same table.
 *
 * `exec` follows env(1) and timeout(1) instead: once the command runs its status is the command's
 * own, so everything that is fdpass's own failure, whatever the cause, is the one number that
 * programs rarely use.
 */
#ifndef CLI_EXIT_STATUS_H
#define CLI_EXIT_STATUS_H

enum exit_status {
        STATUS_OK = 0,
        STATUS_FAILED = 1,      /* the operation failed, or the answer is no */
        STATUS_USAGE = 2,       /* the command line is wrong */
        STATUS_CONFIG = 3,      /* the configuration is wrong */
        STATUS_NO_BROKER = 4,   /* no broker could be reached */
        STATUS_NOT_ALLOWED = 5, /* the broker is there and this user may not */
        STATUS_NO_LISTENER = 6, /* no such listener or component, or none that this user may see */

        STATUS_EXEC_FAILED = 125,     /* exec: fdpass itself failed */
        STATUS_EXEC_CANNOT_RUN = 126, /* exec: the program was found and could not be run */
        STATUS_EXEC_NOT_FOUND = 127   /* exec: there is no such program */
};

#endif
