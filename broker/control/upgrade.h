/* The one upgrade in place that is under way, from UPGRADE until its exec or its failure. */
#ifndef CONTROL_UPGRADE_H
#define CONTROL_UPGRADE_H

#include <stdbool.h>

#include "control/serial.h"

#define UPGRADE_PATH_MAX 4095 /* PATH_MAX, without its NUL */
#define UPGRADE_VERSION_SIZE 64

struct control;
struct helper;
struct session;

struct upgrade {
        bool running;
        struct session *session; /* who is to be answered; NULL when it ended meanwhile */
        struct serial serial;
        char *path;
        int executable_fd; /* what was checked is what is executed */
        char version[UPGRADE_VERSION_SIZE];
        struct helper *helper; /* tries the program */
};

/* The session ends: do not answer it. */
void upgrade_forget(struct upgrade *upgrade, const struct session *session);

void upgrade_cancel(struct control *control);

#endif
