/* The command line of fdpassd. */
#ifndef FDPASSD_OPTIONS_H
#define FDPASSD_OPTIONS_H

#include <stdbool.h>

#include "core/log.h"

/* Who keeps a copy of every descriptor. */
enum keeper_choice {
        KEEPER_AUTO, /* systemd when it is our service manager, else a keeper process */
        KEEPER_YES,
        KEEPER_NO, /* nobody */
};

struct options {
        const char *config_path; /* NULL: the default place */
        bool has_log_level;
        enum log_level log_level;
        enum log_target log_target;
        enum keeper_choice keeper;
        bool check_upgrade; /* only try what a broker passes that wants to become this program */
};

/*
 * Returns 0 to go on, 1 when --help or --version was answered, -EINVAL after saying on stderr what
 * was wrong.
 */
int options_parse(int argc, char *argv[], struct options *ret);

#endif
