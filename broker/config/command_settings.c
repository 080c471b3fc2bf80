/*
 * Reading command lines and Environment=, as systemd.service(5), "Command lines", says: first the
 * words are split and their quotes and escapes undone, then the specifiers of each are expanded, so
 * that what a specifier stands for is never split or unquoted.
 */
#include "config/component_settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "config/array.h"
#include "config/command.h"
#include "config/parts.h"
#include "config/print.h"
#include "config/setting_support.h"
#include "config/unit_file.h"
#include "config/values.h"

#define WHITESPACE " \t"
#define ARGUMENTS_MAX 1024
#define VARIABLES_MAX 1024
/* As it is printed in the kept configuration, which must load again. */
#define COMMAND_SIZE_MAX (UNIT_FILE_LINE_MAX - 4096)

/* ---- words ---- */

/* 1, 0 at the end, or -EINVAL when it was reported or memory ran out. */
static int next_argument(const struct setting *s, const char *value, const char **cursor,
                         char **ret) {
        _cleanup_free_ char *word = NULL;
        bool relaxed = false;
        int r = value_next_argument(cursor, false, &word);

        if (r == -EINVAL && s->component->config->is_unit_file) {
                relaxed = true;
                r = value_next_argument(cursor, true, &word);
        }
        if (r == 0)
                return 0;
        if (r == -ENOMEM)
                s->draft->out_of_memory = true;
        else if (r < 0)
                setting_error(s, value,
                              "a quote is not closed, or an escape is unknown: write \\\\ for a "
                              "backslash");
        if (r < 0)
                return -EINVAL;
        if (relaxed)
                diagnostics_add(s->draft->diagnostics, SEVERITY_WARNING, s->place.file,
                                s->place.line,
                                "%s=: '%.80s' has an escape that is unknown and stands for itself: "
                                "write \\\\ for a backslash",
                                s->directive->key, word);
        *ret = setting_expand(s, word, specifiers_expand);
        return *ret ? 1 : -EINVAL;
}

/* ---- one command ---- */

struct prefixes {
        bool has_argv0;   /* @ */
        bool without_env; /* : */
        bool may_fail;    /* - */
        bool is_full;     /* + */
        bool is_user;     /* ! */
        bool is_ambient;  /* !!: where there are ambient capabilities, and there are, nothing */
};

/* Returns where the path begins, or NULL for a prefix that stands twice or with its opposite. */
static char *read_prefixes(char *word, struct prefixes *p) {
        for (;; word++) {
                bool *flag;

                switch (*word) {
                case '@':
                        flag = &p->has_argv0;
                        break;
                case ':':
                        flag = &p->without_env;
                        break;
                case '-':
                        flag = &p->may_fail;
                        break;
                case '+':
                        flag = &p->is_full;
                        break;
                case '!':
                        flag = p->is_user ? &p->is_ambient : &p->is_user;
                        break;
                default:
                        return p->is_full && p->is_user ? NULL : word;
                }
                if (*flag)
                        return NULL;
                *flag = true;
        }
}

static bool read_path(const struct setting *s, char *word, struct command *command,
                      bool *ret_has_argv0) {
        struct prefixes p = {0};
        const char *path = read_prefixes(word, &p);

        if (!path) {
                setting_error(s, word,
                              "one of the prefixes @ : - + ! !! stands twice, or '+' and "
                              "'!' together: leave one out");
                return false;
        }
        if (!*path || path[strlen(path) - 1] == '/') {
                setting_error(s, word, "the program is missing: write its path");
                return false;
        }
        if (path[0] != '/' && strchr(path, '/')) {
                setting_error(s, word,
                              "a path must be absolute: begin it with '/', or write only the name "
                              "of a program that is in PATH");
                return false;
        }
        command->ignore_failure = p.may_fail;
        command->no_variables = p.without_env;
        command->unrestricted = p.is_full;
        command->privileged = p.is_full || (p.is_user && !p.is_ambient);
        command->path = strdup(path);
        *ret_has_argv0 = p.has_argv0;
        return !setting_lacks_memory(s, command->path);
}

/* A ";" of its own ends a command, "\;" is a semicolon. */
static bool is_word(const char *cursor, const char *word) {
        size_t length = strlen(word);

        return strncmp(cursor, word, length) == 0 &&
               (cursor[length] == '\0' || strchr(WHITESPACE, cursor[length]));
}

static bool add_argument(const struct setting *s, struct command *command, const char *text) {
        if (strings_count(command->arguments) == ARGUMENTS_MAX) {
                setting_error(s, text, "there are more than %d arguments", ARGUMENTS_MAX);
                return false;
        }
        if (strings_add(&command->arguments, text) == 0)
                return true;
        s->draft->out_of_memory = true;
        return false;
}

static bool read_arguments(const struct setting *s, const char *value, const char **cursor,
                           struct command *command) {
        for (;;) {
                _cleanup_free_ char *word = NULL;
                int r;

                *cursor += strspn(*cursor, WHITESPACE);
                if (is_word(*cursor, ";"))
                        return true;
                if (is_word(*cursor, "\\;")) {
                        *cursor += 2;
                        if (!add_argument(s, command, ";"))
                                return false;
                        continue;
                }
                r = next_argument(s, value, cursor, &word);
                if (r <= 0)
                        return r == 0;
                if (!add_argument(s, command, word))
                        return false;
        }
}

/* From *cursor to the end or to a ";". False when that was reported; *ret is the caller's then,
 * too.
 */
static bool read_command(const struct setting *s, const char *value, const char **cursor,
                         struct command *ret) {
        _cleanup_free_ char *word = NULL;
        bool has_argv0;
        int r;

        *cursor += strspn(*cursor, WHITESPACE);
        r = is_word(*cursor, ";") ? 0 : next_argument(s, value, cursor, &word);
        if (r < 0)
                return false;
        if (r == 0) {
                setting_error(s, value, "the program is missing: write its path");
                return false;
        }
        if (!read_path(s, word, ret, &has_argv0) ||
            (!has_argv0 && !add_argument(s, ret, ret->path)) ||
            !read_arguments(s, value, cursor, ret))
                return false;
        if (!ret->arguments) {
                setting_error(s, value,
                              "'@' takes the name of the program from the second word, and there "
                              "is none");
                return false;
        }
        if (print_command_size(ret) > COMMAND_SIZE_MAX) {
                setting_error(s, value, "the command is too long: put it into a script");
                return false;
        }
        return true;
}

/* The only command of `value`, replacing *member. */
static bool replace_command(const struct setting *s, const char *value, struct command *member) {
        struct command command = {0};
        const char *cursor = value;

        if (!read_command(s, value, &cursor, &command)) {
                command_clear(&command);
                return false;
        }
        if (*cursor) {
                setting_error(s, value,
                              "only one command can stand here: write \\; for a semicolon that is "
                              "an argument, or let a shell run several");
                command_clear(&command);
                return false;
        }
        command_clear(member);
        *member = command;
        return true;
}

void setting_start(const struct setting *s, const char *value, void *member) {
        struct command *command = member;

        if (!*value) {
                command_clear(command);
                return;
        }
        if (command->path) {
                setting_error(s, value,
                              "a component has one ExecStart=, and this is the second: write an "
                              "empty ExecStart= before it to replace the first");
                return;
        }
        if (!replace_command(s, value, command))
                s->component->has_bad_command = true;
}

static bool append_command(const struct setting *s, const char *value, const char **cursor,
                           struct command_list *list) {
        struct command command = {0};

        if (!read_command(s, value, cursor, &command)) {
                command_clear(&command);
                return false;
        }
        if (array_grow(&list->items, list->count, sizeof(*list->items)) < 0) {
                s->draft->out_of_memory = true;
                command_clear(&command);
                return false;
        }
        list->items[list->count++] = command;
        return true;
}

void setting_commands(const struct setting *s, const char *value, void *member) {
        const char *cursor = value;

        if (!*value) {
                command_list_clear(member);
                return;
        }
        while (append_command(s, value, &cursor, member)) {
                cursor += *cursor == ';';
                cursor += strspn(cursor, WHITESPACE);
                if (!*cursor)
                        return;
        }
}

/* ---- the health check ---- */

#define HTTP_PREFIX "http:"

/* "http:/health", "http:/health=204" */
static bool read_http(const struct setting *s, const char *value, struct health_config *health) {
        _cleanup_free_ char *path =
                setting_expand(s, value + strlen(HTTP_PREFIX), specifiers_expand);
        uint64_t status = 0;
        char *equals;

        if (!path)
                return false;
        equals = strrchr(path, '=');
        if (equals && strlen(equals) == 4 && value_to_number(equals + 1, 100, 599, &status) == 0)
                *equals = '\0';
        for (const char *p = path; *p; p++)
                if (*p <= ' ' || *p == 0x7f)
                        path[0] = '\0'; /* no bytes that could end a request line */
        if (path[0] != '/' || !value_is_text(path)) {
                setting_error(s, value,
                              "write http:/PATH or http:/PATH=STATUS, the path without spaces and "
                              "other characters than ASCII");
                return false;
        }
        setting_replace(&health->path, &path);
        health->status = (unsigned) status;
        return true;
}

static void set_health(struct health_config *health, enum health_kind kind) {
        if (kind != HEALTH_HTTP) {
                free(health->path);
                health->path = NULL;
                health->status = 0;
        }
        if (kind != HEALTH_EXEC)
                command_clear(&health->command);
        health->kind = kind;
}

void setting_health_check(const struct setting *s, const char *value, void *member) {
        struct health_config *health = member;

        s->component->health_place = s->place;
        if (!*value) {
                set_health(health, HEALTH_AUTO);
        } else if (strcmp(value, "no") == 0) {
                set_health(health, HEALTH_NO);
        } else if (strcmp(value, "tcp") == 0) {
                set_health(health, HEALTH_TCP);
        } else if (strncmp(value, HTTP_PREFIX, strlen(HTTP_PREFIX)) == 0) {
                if (read_http(s, value, health))
                        set_health(health, HEALTH_HTTP);
        } else if (strncmp(value, "exec:", 5) == 0) {
                if (replace_command(s, value + 5, &health->command))
                        set_health(health, HEALTH_EXEC);
        } else {
                setting_error(s, value,
                              "write tcp, http:/PATH, http:/PATH=STATUS, exec:COMMAND or no");
        }
}

/* ---- Environment= ---- */

static bool is_variable(const char *text) {
        size_t length = strcspn(text, "=");

        return text[length] == '=' && value_is_variable_name(text, length);
}

/* The same variable twice: the later one counts, at the place of the earlier. */
static int put_variable(char ***environment, char *text) {
        size_t length = strcspn(text, "=") + 1;

        for (char **e = *environment; *e; e++)
                if (strncmp(*e, text, length) == 0) {
                        char *copy = strdup(text);

                        if (!copy)
                                return -ENOMEM;
                        free(*e);
                        *e = copy;
                        return 0;
                }
        return strings_add(environment, text);
}

static void add_variable(const struct setting *s, char *text, char ***environment) {
        if (!is_variable(text))
                setting_error(s, text, "write NAME=VALUE, in quotes when it has spaces");
        else if (print_quoted_size(text) > COMMAND_SIZE_MAX)
                setting_error(s, text, "this is too long: use EnvironmentFile=");
        else if (strings_count(*environment) == VARIABLES_MAX)
                setting_error(s, text, "there are more than %d variables: use EnvironmentFile=",
                              VARIABLES_MAX);
        else if (put_variable(environment, text) < 0)
                s->draft->out_of_memory = true;
}

void setting_environment(const struct setting *s, const char *value, void *member) {
        char ***environment = member;
        const char *cursor = value;
        char *word;

        if (!*value) {
                for (char **e = *environment; *e; e++)
                        free(*e);
                **environment = NULL;
                return;
        }
        while (next_argument(s, value, &cursor, &word) > 0) {
                add_variable(s, word, environment);
                free(word);
        }
}

static void add_unset(const struct setting *s, const char *text, char ***names) {
        if (!value_is_variable_name(text, strcspn(text, "=")))
                setting_error(s, text,
                              "write names of variables, or NAME=VALUE for one that has this value "
                              "only");
        else if (print_quoted_size(text) > COMMAND_SIZE_MAX)
                setting_error(s, text, "this is too long");
        else if (strings_count(*names) == VARIABLES_MAX)
                setting_error(s, text, "there are more than %d variables", VARIABLES_MAX);
        else if (strings_add(names, text) < 0)
                s->draft->out_of_memory = true;
}

void setting_unset_environment(const struct setting *s, const char *value, void *member) {
        char ***names = member;
        const char *cursor = value;
        char *word;

        if (!*value) {
                strings_free(*names);
                *names = NULL;
                return;
        }
        while (next_argument(s, value, &cursor, &word) > 0) {
                add_unset(s, word, names);
                free(word);
        }
}
