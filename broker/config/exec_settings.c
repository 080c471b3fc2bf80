/*
 * Reading what a component's process is given (systemd.exec(5)): user and groups, limits,
 * directories, output.
 */
#include "config/component_settings.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "config/array.h"
#include "config/parts.h"
#include "config/path.h"
#include "config/setting_support.h"
#include "config/time_span.h"
#include "config/values.h"

#define VARIABLES_MAX 1024
#define VARIABLE_NAME_MAX 255
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- paths ---- */

/* `text` in one spelling, for the caller to free; NULL when that was reported. */
static char *read_absolute(const struct setting *s, const char *value, const char *text) {
        char normalized[PATH_MAX];
        const char *reason;
        char *copy;

        if (path_normalize(text, normalized, sizeof(normalized), &reason) < 0) {
                setting_error(s, value, "%s", reason);
                return NULL;
        }
        copy = strdup(normalized);
        return setting_lacks_memory(s, copy) ? NULL : copy;
}

static void clear_environment_files(struct component_config *c) {
        for (size_t i = 0; i < c->n_environment_files; i++)
                free(c->environment_files[i].path);
        c->n_environment_files = 0;
}

void setting_environment_file(const struct setting *s, const char *value, void *member) {
        struct component_config *c = s->component->config;
        struct environment_file file = {.optional = value[0] == '-'};
        _cleanup_free_ char *text = NULL;

        if (!*value) {
                clear_environment_files(c);
                return;
        }
        text = setting_expand(s, value + file.optional, specifiers_expand);
        file.path = text ? read_absolute(s, value, text) : NULL;
        if (!file.path)
                return;
        if (array_grow(&c->environment_files, c->n_environment_files, sizeof(file)) < 0) {
                s->draft->out_of_memory = true;
                free(file.path);
                return;
        }
        c->environment_files[c->n_environment_files++] = file;
}

static bool add_variable_name(const struct setting *s, const char *word, char ***names) {
        size_t length = strlen(word);

        if (length > VARIABLE_NAME_MAX || !value_is_variable_name(word, length))
                setting_error(s, word, "write the names of variables, with spaces between them");
        else if (strings_count(*names) == VARIABLES_MAX)
                setting_error(s, word, "there are more than %d variables", VARIABLES_MAX);
        else if (strings_add(names, word) < 0)
                s->draft->out_of_memory = true;
        return !s->draft->out_of_memory;
}

void setting_pass_environment(const struct setting *s, const char *value, void *member) {
        char ***names = member;
        const char *cursor = value;
        char *word;
        int r;

        if (!*value) {
                for (char **n = *names; *n; n++)
                        free(*n);
                **names = NULL;
                return;
        }
        while ((r = value_next_word(&cursor, &word)) > 0) {
                bool goes_on = add_variable_name(s, word, names);

                free(word);
                if (!goes_on)
                        return;
        }
        if (r == -ENOMEM)
                s->draft->out_of_memory = true;
        else if (r < 0)
                setting_error(s, value, "a quote is not closed or an escape is unknown");
}

void setting_working_directory(const struct setting *s, const char *value, void *member) {
        struct component_config *c = s->component->config;
        bool optional = value[0] == '-';
        _cleanup_free_ char *text = NULL, *path = NULL;

        s->component->directory_place = s->place;
        if (!*value) {
                c->working_directory_optional = false;
                setting_replace(member, &path);
                return;
        }
        text = setting_expand(s, value + optional, specifiers_expand);
        if (!text)
                return;
        /* "~" is resolved when User= is known, "/" is the default */
        if (strcmp(text, "~") == 0 || strcmp(text, "/") == 0)
                path = strdup(text);
        else if (text[0] == '/')
                path = read_absolute(s, value, text);
        else
                setting_error(s, value, "write an absolute path, or ~ for the home of User=");
        if (path) {
                c->working_directory_optional = optional;
                setting_replace(member, &path);
        }
}

/* ---- users ---- */

/* What /etc/passwd says of `text`; a number that it does not have is as good. */
static bool find_user(const struct setting *s, const char *text, uid_t uid, struct user *ret) {
        int r = identities_user_named(s->draft->identities, text, ret);

        if (r == -ESRCH)
                r = identities_user(s->draft->identities, uid, ret);
        return r == 0;
}

static void set_user(const struct setting *s, const char *text, uid_t uid) {
        struct draft_component *dc = s->component;
        struct component_config *c = dc->config;
        struct user user = {0};
        bool known = find_user(s, text, uid, &user);
        char *name = strdup(known ? user.name : text);
        char *home = known && value_is_text(user.home) ? strdup(user.home) : NULL;
        char *shell = known && value_is_text(user.shell) ? strdup(user.shell) : NULL;

        setting_replace(&c->user, &name);
        setting_replace(&c->home, &home);
        setting_replace(&c->shell, &shell);
        (void) setting_lacks_memory(s, c->user);
        c->uid = uid;
        dc->has_uid = true;
        dc->has_user_gid = known;
        dc->user_gid = user.gid;
        dc->user_place = s->place;
}

void setting_user(const struct setting *s, const char *value, void *member) {
        struct component_config *c = s->component->config;
        _cleanup_free_ char *text = NULL;
        uid_t uid;

        if (*value) {
                text = setting_expand(s, value, specifiers_expand);
                if (text && setting_read_uid(s, text, text, &uid))
                        set_user(s, text, uid);
                return;
        }
        setting_replace(&c->user, &text);
        setting_replace(&c->home, &text);
        setting_replace(&c->shell, &text);
        s->component->has_uid = s->component->has_user_gid = false;
}

void setting_group(const struct setting *s, const char *value, void *member) {
        _cleanup_free_ char *text = NULL;

        if (!*value) {
                s->component->has_gid = false;
                return;
        }
        text = setting_expand(s, value, specifiers_expand);
        if (text && setting_read_gid(s, text, text, member))
                s->component->has_gid = true;
}

static void add_group(const struct setting *s, const char *word, void *owner) {
        struct draft_component *c = owner;
        gid_t gid;

        if (!setting_read_gid(s, word, word, &gid))
                return;
        if (array_grow(&c->groups, c->n_groups, sizeof(gid)) < 0)
                s->draft->out_of_memory = true;
        else
                c->groups[c->n_groups++] = gid;
}

void setting_supplementary_groups(const struct setting *s, const char *value, void *member) {
        if (*value)
                setting_each_word(s, value, add_group, s->component);
        else
                s->component->n_groups = 0;
}

/* ---- limits ---- */

typedef int limit_reader(const char *text, rlim_t *ret);

static int read_count(const char *text, rlim_t *ret) {
        uint64_t number;

        if (value_to_number(text, 0, UINT64_MAX, &number) < 0)
                return -EINVAL;
        *ret = (rlim_t) number;
        return 0;
}

/* "64K", "2G": to the base 1024, as systemd has it for limits. */
static int read_bytes(const char *text, rlim_t *ret) {
        static const char suffixes[] = "BKMGTPE";
        size_t length = strlen(text);
        const char *suffix = length > 0 ? strchr(suffixes, text[length - 1]) : NULL;
        char digits[24];
        uint64_t number;

        length -= suffix != NULL;
        if (length >= sizeof(digits))
                return -EINVAL;
        *(char *) mempcpy(digits, text, length) = '\0';
        if (value_to_number(digits, 0, UINT64_MAX, &number) < 0)
                return -EINVAL;
        if (suffix &&
            __builtin_mul_overflow(number, UINT64_C(1) << 10 * (suffix - suffixes), &number))
                return -EINVAL;
        *ret = (rlim_t) number;
        return 0;
}

static int read_span_in(const char *text, uint64_t default_unit, uint64_t unit, rlim_t *ret) {
        uint64_t usec;

        if (time_span_parse(text, default_unit, &usec) < 0)
                return -EINVAL;
        *ret = (rlim_t) (usec / unit + (usec % unit != 0));
        return 0;
}

static int read_seconds(const char *text, rlim_t *ret) {
        return read_span_in(text, 1000000, 1000000, ret);
}

static int read_usec(const char *text, rlim_t *ret) {
        return read_span_in(text, 1, 1, ret);
}

/* "+5" and "-5" are nice values, whose limit is 20 minus them; a plain number is the limit. */
static int read_nice(const char *text, rlim_t *ret) {
        uint64_t number;

        if (text[0] == '+' && value_to_number(text + 1, 0, 19, &number) == 0)
                *ret = 20 - (rlim_t) number;
        else if (text[0] == '-' && value_to_number(text + 1, 0, 20, &number) == 0)
                *ret = 20 + (rlim_t) number;
        else if (value_to_number(text, 0, 40, &number) == 0)
                *ret = (rlim_t) number;
        else
                return -EINVAL;
        return 0;
}

static int read_one_limit(const char *text, limit_reader *reader, rlim_t *ret) {
        if (strcmp(text, "infinity") == 0) {
                *ret = RLIM_INFINITY;
                return 0;
        }
        return reader(text, ret);
}

static void read_limit(const struct setting *s, const char *value, limit_reader *reader,
                       struct rlimit *member) {
        struct component_config *c = s->component->config;
        size_t index = (size_t) (member - c->limits);
        _cleanup_free_ char *soft = strdup(value);
        struct rlimit limit;
        char *hard;

        if (setting_lacks_memory(s, soft))
                return;
        c->has_limit[index] = *value != '\0';
        if (!*value)
                return;
        hard = strchr(soft, ':');
        if (hard)
                *hard++ = '\0';
        else
                hard = soft;
        if (read_one_limit(soft, reader, &limit.rlim_cur) < 0 ||
            read_one_limit(hard, reader, &limit.rlim_max) < 0)
                setting_error(s, value,
                              "write a limit such as 1024, SOFT:HARD or infinity; bytes may end in "
                              "K, M or G, times in s or min");
        else if (limit.rlim_cur > limit.rlim_max)
                setting_error(s, value, "the soft limit is above the hard one");
        else
                *member = limit;
}

void setting_rlimit_bytes(const struct setting *s, const char *value, void *member) {
        read_limit(s, value, read_bytes, member);
}

void setting_rlimit_count(const struct setting *s, const char *value, void *member) {
        read_limit(s, value, read_count, member);
}

void setting_rlimit_seconds(const struct setting *s, const char *value, void *member) {
        read_limit(s, value, read_seconds, member);
}

void setting_rlimit_usec(const struct setting *s, const char *value, void *member) {
        read_limit(s, value, read_usec, member);
}

void setting_rlimit_nice(const struct setting *s, const char *value, void *member) {
        read_limit(s, value, read_nice, member);
}

/* False when it was reported, or when there is none. */
static bool read_signed(const struct setting *s, const char *value, int min, int max, bool *ret_has,
                        int *ret) {
        bool negative = value[0] == '-';
        uint64_t number;

        *ret_has = *value != '\0';
        if (!*value)
                return false;
        if (value_to_number(value + (negative || value[0] == '+'), 0,
                            (uint64_t) (negative ? -min : max), &number) < 0) {
                setting_error(s, value, "write a number from %d to %d", min, max);
                return false;
        }
        *ret = negative ? -(int) number : (int) number;
        return true;
}

void setting_nice(const struct setting *s, const char *value, void *member) {
        (void) read_signed(s, value, -20, 19, &s->component->config->has_nice, member);
}

void setting_oom_score_adjust(const struct setting *s, const char *value, void *member) {
        (void) read_signed(s, value, -1000, 1000, &s->component->config->has_oom_score_adjust,
                           member);
}

/* ---- output ---- */

static const struct {
        const char *name;
        enum output_kind kind;
} output_kinds[] = {
        {"inherit", OUTPUT_LOG}, {"journal", OUTPUT_LOG},        {"journal+console", OUTPUT_LOG},
        {"syslog", OUTPUT_LOG},  {"syslog+console", OUTPUT_LOG}, {"null", OUTPUT_NULL},
};

static const struct {
        const char *prefix;
        enum output_kind kind;
} output_files[] = {
        {"file:", OUTPUT_FILE},
        {"append:", OUTPUT_APPEND},
        {"truncate:", OUTPUT_TRUNCATE},
};

/* What systemd has beside these: it goes to the log instead, which is where it can be found. */
static bool is_other_output(const char *value) {
        static const char *const others[] = {"tty", "kmsg", "kmsg+console", "socket"};

        for (size_t i = 0; i < COUNT(others); i++)
                if (strcmp(value, others[i]) == 0)
                        return true;
        return strcmp(value, "fd") == 0 || strncmp(value, "fd:", 3) == 0;
}

/* *path goes over; NULL for none. */
static void set_output(struct output_config *output, enum output_kind kind, char **path) {
        setting_replace(&output->path, path);
        output->kind = kind;
}

static bool read_output_file(const struct setting *s, const char *value,
                             struct output_config *output) {
        for (size_t i = 0; i < COUNT(output_files); i++) {
                size_t length = strlen(output_files[i].prefix);
                _cleanup_free_ char *text = NULL;
                char *path;

                if (strncmp(value, output_files[i].prefix, length) != 0)
                        continue;
                text = setting_expand(s, value + length, specifiers_expand);
                path = text ? read_absolute(s, value, text) : NULL;
                if (path)
                        set_output(output, output_files[i].kind, &path);
                return true;
        }
        return false;
}

static void read_output(const struct setting *s, const char *value, struct output_config *output) {
        char *none = NULL;

        for (size_t i = 0; i < COUNT(output_kinds); i++)
                if (strcmp(value, *value ? output_kinds[i].name : "") == 0) {
                        set_output(output, output_kinds[i].kind, &none);
                        return;
                }
        if (read_output_file(s, value, output))
                return;
        if (!is_other_output(value) || !s->component->config->is_unit_file) {
                setting_error(s, value,
                              "write inherit, journal, null, file:PATH, append:PATH or "
                              "truncate:PATH");
                return;
        }
        diagnostics_add(s->draft->diagnostics, SEVERITY_WARNING, s->place.file, s->place.line,
                        "%s=%.80s is not supported: the output goes to the broker's log",
                        s->directive->key, value);
        set_output(output, OUTPUT_LOG, &none);
}

void setting_standard_output(const struct setting *s, const char *value, void *member) {
        read_output(s, value, member);
}

void setting_standard_error(const struct setting *s, const char *value, void *member) {
        char *none = NULL;

        if (!*value || strcmp(value, "inherit") == 0)
                set_output(member, OUTPUT_SAME, &none);
        else
                read_output(s, value, member);
}
