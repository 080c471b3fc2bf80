/*
 * Builds getopt_long(3)'s tables from ours, lets it cut up argv, and says itself what is wrong:
 * getopt's own messages name neither the right options nor the choices of an argument. Which row
 * an answer belongs to travels in the option's value: LONG_BASE plus the row's number.
 */
#include "cli/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli/display.h"
#include "config/suggestion.h"

/* Above every short option, so that the two cannot be confused. */
#define LONG_BASE 256

struct parser {
        const struct option_group *groups;
        size_t n_groups;
        const char *program;
        FILE *errors;
        struct option longs[OPTIONS_MAX + 1];
        char shorts[2 + OPTIONS_MAX * 3 + 1];
};

/* The n-th row over all groups, or NULL. */
static const struct option_spec *spec_at(const struct parser *p, size_t n, void **ret_values) {
        for (size_t i = 0; i < p->n_groups; i++)
                for (const struct option_spec *spec = p->groups[i].specs; spec->name; spec++)
                        if (n-- == 0) {
                                if (ret_values)
                                        *ret_values = p->groups[i].values;
                                return spec;
                        }
        return NULL;
}

/* The row that a value of getopt_long() belongs to, or NULL. */
static const struct option_spec *spec_of(const struct parser *p, int value, void **ret_values) {
        const struct option_spec *spec;

        if (value >= LONG_BASE)
                return spec_at(p, (size_t) (value - LONG_BASE), ret_values);
        for (size_t n = 0; (spec = spec_at(p, n, ret_values)); n++)
                if (value && spec->letter == value)
                        return spec;
        return NULL;
}

static int has_argument(const struct option_spec *spec) {
        if (spec->kind == OPTION_FLAG)
                return no_argument;
        return spec->kind == OPTION_OPTIONAL ? optional_argument : required_argument;
}

static void parser_build(struct parser *p, bool stop_at_operand) {
        const struct option_spec *spec;
        char *out = p->shorts;

        if (stop_at_operand)
                *out++ = '+';
        *out++ = ':'; /* tell a missing argument from an unknown option */
        for (size_t n = 0; n < OPTIONS_MAX && (spec = spec_at(p, n, NULL)); n++) {
                p->longs[n] =
                        (struct option){spec->name, has_argument(spec), NULL, LONG_BASE + (int) n};
                if (!spec->letter)
                        continue;
                *out++ = spec->letter;
                for (int i = 0; i < has_argument(spec); i++)
                        *out++ = ':';
        }
        *out = '\0';
}

static void say_options(const struct parser *p) {
        const struct option_spec *spec;

        fprintf(p->errors, " The options are");
        for (size_t n = 0; (spec = spec_at(p, n, NULL)); n++)
                fprintf(p->errors, "%s --%s", n == 0 ? "" : ",", spec->name);
        fprintf(p->errors, ".\n");
}

static int say_unknown(const struct parser *p, const char *word) {
        _cleanup_free_ char *shown = display_escape(word);
        const struct option_spec *spec;
        const char *nearest = NULL;

        fprintf(p->errors, "%s: there is no option '%s'.", p->program, shown ? shown : "?");
        for (size_t n = 0; (spec = spec_at(p, n, NULL)); n++)
                nearest = suggestion_better(word + strspn(word, "-"), nearest, spec->name);
        if (nearest)
                fprintf(p->errors, " Did you mean '--%s'?", nearest);
        say_options(p);
        return -EINVAL;
}

/* An unknown long option with the beginning of a known one is ambiguous, and unknown all the same
 * for whoever typed it. */
static int say_wrong_option(const struct parser *p, const char *word) {
        const struct option_spec *spec = optopt >= LONG_BASE ? spec_of(p, optopt, NULL) : NULL;
        char letter[3] = {'-', (char) optopt, '\0'};
        _cleanup_free_ char *name = NULL;

        if (spec) {
                fprintf(p->errors, "%s: the option '--%s' takes no argument.\n", p->program,
                        spec->name);
                return -EINVAL;
        }
        if (optopt)
                return say_unknown(p, letter);
        name = strndup(word, strcspn(word, "="));
        return say_unknown(p, name ? name : word);
}

static int say_missing_argument(const struct parser *p) {
        const struct option_spec *spec = spec_of(p, optopt, NULL);

        fprintf(p->errors, "%s: the option '--%s' needs an argument: --%s=%s\n", p->program,
                spec->name, spec->name, spec->argument);
        return -EINVAL;
}

static int choice_index(const char *words, const char *word, unsigned *ret) {
        size_t length = strlen(word);

        for (unsigned i = 0;; i++) {
                size_t n = strcspn(words, "|");
                if (n == length && memcmp(words, word, n) == 0) {
                        *ret = i;
                        return 0;
                }
                if (words[n] == '\0')
                        return -EINVAL;
                words += n + 1;
        }
}

static int store(const struct parser *p, const struct option_spec *spec, void *values,
                 const char *argument) {
        void *value = (char *) values + spec->offset;

        switch (spec->kind) {
        case OPTION_FLAG:
                *(bool *) value = true;
                break;
        case OPTION_TEXT:
        case OPTION_OPTIONAL:
                *(const char **) value = argument ? argument : "";
                break;
        case OPTION_CHOICE:
                if (choice_index(spec->argument, argument, value) < 0) {
                        _cleanup_free_ char *shown = display_escape(argument);
                        fprintf(p->errors, "%s: --%s=%s is not possible; it is one of %s.\n",
                                p->program, spec->name, shown ? shown : "?", spec->argument);
                        return -EINVAL;
                }
                break;
        }
        return 0;
}

int options_parse(const struct option_group *groups, size_t n_groups, bool stop_at_operand,
                  const char *program, int argc, char **argv, FILE *errors) {
        struct parser p = {
                .groups = groups, .n_groups = n_groups, .program = program, .errors = errors};
        int value, r;

        parser_build(&p, stop_at_operand);
        optind = 0; /* glibc: begin anew, also with a new mode */
        opterr = 0;
        while ((value = getopt_long(argc, argv, p.shorts, p.longs, NULL)) != -1) {
                void *values = NULL;
                const struct option_spec *spec;

                if (value == '?')
                        return say_wrong_option(&p, argv[optind - 1]);
                if (value == ':')
                        return say_missing_argument(&p);
                spec = spec_of(&p, value, &values);
                r = store(&p, spec, values, optarg);
                if (r < 0)
                        return r;
        }
        return optind;
}

void options_help(const struct option_spec *specs, FILE *stream) {
        for (const struct option_spec *spec = specs; spec->name; spec++) {
                char text[64], letter[5] = "    ";

                if (spec->letter)
                        snprintf(letter, sizeof(letter), "-%c, ", spec->letter);
                snprintf(text, sizeof(text), "%s--%s%s%s%s", letter, spec->name,
                         !spec->argument                 ? ""
                         : spec->kind == OPTION_OPTIONAL ? "[="
                                                         : "=",
                         spec->argument ? spec->argument : "",
                         spec->kind == OPTION_OPTIONAL ? "]" : "");
                fprintf(stream, "  %-33s %s\n", text, spec->help);
        }
}
