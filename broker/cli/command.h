/* One command of `fdpass` = one row of the table in fdpass.c; help and dispatch come from it. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/display.h"
#include "cli/options.h"

/* What was given on the command line for all commands alike. */
struct cli {
        const struct command *command;
        const char *socket; /* --socket, or NULL */
        unsigned color;     /* enum color_when */
        bool json;
        bool help;
        bool version;
};

struct command {
        const char *name;
        const char *arguments;
        const char *summary; /* one line, for the list of commands */
        const char *details; /* for `fdpass NAME --help`; NULL when the summary says all */
        const struct option_spec *options; /* ended by a row without a name */
        bool has_json;
        int (*run)(struct cli *cli, int argc, char **argv); /* returns an exit status */
};

/*
 * Parse the options of the command that runs, the global ones among them, into *cli and *values.
 * Returns the index of the first operand in argv; or, with nothing left to do but to end, -1 and
 * the exit status in *ret_status (help was printed, or what is wrong was said).
 */
int command_parse(struct cli *cli, void *values, int argc, char **argv, int *ret_status);

/* For a sentence about a word that cannot be a name: name_is_valid(). */
#define NAME_RULE "names are 1 to 255 of A-Z a-z 0-9 . _ @ - and begin with neither '.' nor '-'"

/* Say what is wrong with the command line and where to read more; returns STATUS_USAGE. */
int command_usage(const struct cli *cli, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

extern const struct option_spec exec_options[];
extern const struct option_spec status_options[];
extern const struct option_spec check_options[];
extern const struct option_spec apply_options[];
extern const struct option_spec store_options[];
extern const struct option_spec upgrade_options[];
extern const struct option_spec operate_options[];
extern const struct option_spec logs_options[];

int exec_run(struct cli *cli, int argc, char **argv);
int status_run(struct cli *cli, int argc, char **argv);
int check_run(struct cli *cli, int argc, char **argv);
int apply_run(struct cli *cli, int argc, char **argv);
int store_run(struct cli *cli, int argc, char **argv);
int upgrade_run(struct cli *cli, int argc, char **argv);
int operate_run(struct cli *cli, int argc, char **argv); /* start, stop and their kind */
int logs_run(struct cli *cli, int argc, char **argv);

#endif
