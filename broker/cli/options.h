/*
 * Options of a command as a table: the parser, the messages and the help text come from the same
 * rows. A thin layer over getopt_long(3).
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum option_kind {
        OPTION_FLAG,     /* bool */
        OPTION_TEXT,     /* const char *: the argument, in argv's memory */
        OPTION_OPTIONAL, /* const char *: likewise, "" when the option came without argument */
        OPTION_CHOICE    /* unsigned: which of the words in `argument`, separated by '|' */
};

struct option_spec {
        const char *name;
        char letter; /* 0: none */
        enum option_kind kind;
        size_t offset;        /* of the value in the group's values */
        const char *argument; /* what to call it in the help text */
        const char *help;
};

/* A table, ended by a row without a name, and the struct that its offsets are in. */
struct option_group {
        const struct option_spec *specs;
        void *values;
};

/* All groups together. */
#define OPTIONS_MAX 32

/*
 * Parse argv[1…]. With stop_at_operand the first word that is no option ends it (`fdpass COMMAND
 * …`); without, options and operands may be mixed and argv is reordered, operands last.
 *
 * Returns the index of the first operand, or -EINVAL after telling `errors` which option is wrong,
 * why, and what would be right; `program` is how the sentence begins.
 */
int options_parse(const struct option_group *groups, size_t n_groups, bool stop_at_operand,
                  const char *program, int argc, char **argv, FILE *errors);

/* Two columns: "  -v, --verbose         also show …" */
void options_help(const struct option_spec *specs, FILE *stream);

#endif
