/* The command line of fdpassd. */
#ifndef FDPASSD_OPTIONS_H
#define FDPASSD_OPTIONS_H

#include <stdbool.h>

#include "core/log.h"

struct options {
        const char *config_path; /* NULL: the default place */
        bool has_log_level;
        enum log_level log_level;
        enum log_target log_target;
};

/*
 * Returns 0 to go on, 1 when --help or --version was answered, -EINVAL after saying on stderr what
 * was wrong.
 */
int options_parse(int argc, char *argv[], struct options *ret);

#endif
