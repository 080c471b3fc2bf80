/* One table of options; the help text is printed from it. */
#include "fdpassd/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static int set_config(struct options *o, const char *value) {
        o->config_path = value;
        return *value ? 0 : -EINVAL;
}

static int set_log_level(struct options *o, const char *value) {
        o->has_log_level = true;
        return log_level_from_name(value, &o->log_level);
}

static int find_word(const char *value, const char *const words[], size_t n) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(value, words[i]) == 0)
                        return (int) i;
        return -EINVAL;
}

static int set_log_target(struct options *o, const char *value) {
        static const char *const words[] = {
                [LOG_TARGET_AUTO] = "auto",
                [LOG_TARGET_STDERR] = "stderr",
                [LOG_TARGET_JOURNAL] = "journal",
        };
        int i = find_word(value, words, ARRAY_SIZE(words));

        o->log_target = (enum log_target) i;
        return i < 0 ? i : 0;
}

static int set_keeper(struct options *o, const char *value) {
        static const char *const words[] = {
                [KEEPER_AUTO] = "auto",
                [KEEPER_YES] = "yes",
                [KEEPER_NO] = "no",
        };
        int i = find_word(value, words, ARRAY_SIZE(words));

        o->keeper = (enum keeper_choice) i;
        return i < 0 ? i : 0;
}

static int set_check_upgrade(struct options *o, const char *value) {
        o->check_upgrade = true;
        return 0;
}

static const struct option_row {
        const char *name;
        char letter;
        const char *value;
        const char *help;
        int (*set)(struct options *o, const char *value);
        const char *allowed;
} rows[] = {
        {"config", 'c', "FILE|FOLDER",
         "configuration; default /etc/fdpass, for a user ~/.config/fdpass", set_config,
         "the path of a file or folder"},
        {"log-level", 'l', "LEVEL", "error, warning, notice, info or debug; overrides LogLevel=",
         set_log_level, "error, warning, notice, info or debug"},
        {"log-target", 't', "TARGET", "auto (the journal when stderr is it), stderr or journal",
         set_log_target, "auto, stderr or journal"},
        {"keeper", 'k', "auto|yes|no",
         "a process that keeps every descriptor when the broker dies; auto: yes, unless "
         "systemd's fd store does it",
         set_keeper, "auto, yes or no"},
        {"check-upgrade", 'U', NULL,
         "for a broker that is to be upgraded: could this program take over?", set_check_upgrade,
         NULL},
        {"help", 'h', NULL, "print this", NULL, NULL},
        {"version", 'V', NULL, "print the version", NULL, NULL},
};

static void print_help(void) {
        (void) puts(
                "Usage: fdpassd [OPTION...]\n\n"
                "Hold listening sockets and lend them to the programs that serve on them.\n"
                "Stays in the foreground. SIGHUP applies the configuration, SIGTERM ends it.\n");
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                char left[48];
                (void) snprintf(left, sizeof(left), "-%c, --%s%s%s", rows[i].letter, rows[i].name,
                                rows[i].value ? " " : "", rows[i].value ? rows[i].value : "");
                (void) printf("  %-26s %s\n", left, rows[i].help);
        }
        (void) puts("\nExit status: 0 ended by SIGTERM or SIGINT, 1 failed, 2 wrong usage,\n"
                    "3 wrong configuration, 4 already running.\n"
                    "See fdpassd(8), fdpass.conf(5), fdpass(1).");
}

static int complain(const char *what, const char *name, const char *advice) {
        (void) fprintf(stderr, "fdpassd: %s%s; %s\n", what, name, advice);
        return -EINVAL;
}

static const struct option_row *find(int letter) {
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                if (rows[i].letter == letter)
                        return &rows[i];
        return NULL;
}

static int apply_row(const struct option_row *row, struct options *o) {
        char what[128];

        if (row->set) {
                if (row->set(o, optarg) == 0)
                        return 0;
                (void) snprintf(what, sizeof(what), "--%s takes %s, not ", row->name, row->allowed);
                return complain(what, *optarg ? optarg : "nothing", "see fdpassd --help");
        }
        if (row->letter == 'h')
                print_help();
        else
                (void) puts("fdpassd " FDPASS_VERSION);
        return 1;
}

int options_parse(int argc, char *argv[], struct options *ret) {
        struct option long_options[ARRAY_SIZE(rows) + 1] = {0};
        char letters[2 * ARRAY_SIZE(rows) + 2] = ":", *l = letters + 1;
        int c, r;

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                long_options[i] = (struct option){rows[i].name,
                                                  rows[i].value ? required_argument : no_argument,
                                                  NULL, rows[i].letter};
                *l++ = rows[i].letter;
                if (rows[i].value)
                        *l++ = ':';
        }
        *ret = (struct options){.log_target = LOG_TARGET_AUTO, .log_level = LEVEL_INFO};
        while ((c = getopt_long(argc, argv, letters, long_options, NULL)) != -1) {
                const struct option_row *row = find(c);
                if (c == ':')
                        return complain("a value is missing after ", argv[optind - 1],
                                        "see fdpassd --help");
                if (!row)
                        return complain("there is no option ", argv[optind - 1],
                                        "see fdpassd --help");
                r = apply_row(row, ret);
                if (r != 0)
                        return r;
        }
        if (optind < argc)
                return complain("arguments are not taken: ", argv[optind],
                                "did you mean --config?");
        return 0;
}
