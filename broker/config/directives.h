/*
 * Every key that can stand in a configuration, in one table: where it may stand, what becomes of
 * it, how its value is read. docs/directives.md shows the same table, and a test compares them.
 */
#ifndef CONFIG_DIRECTIVES_H
#define CONFIG_DIRECTIVES_H

#include <stdbool.h>
#include <stddef.h>

#include "config/draft.h"

/* Bits: [Socket NAME] and [Component NAME] of fdpass.conf take all groups of their kind, a section
 * of a unit file takes one. */
enum directive_group {
        GROUP_BROKER = 1,         /* [Broker] */
        GROUP_SOCKET = 2,         /* systemd.socket(5) */
        GROUP_OWN = 4,            /* fdpass's own about a listener */
        GROUP_UNIT = 8,           /* [Unit] of a .service file, systemd.unit(5) */
        GROUP_SERVICE = 16,       /* systemd.service(5), systemd.exec(5), systemd.kill(5) */
        GROUP_OWN_COMPONENT = 32, /* fdpass's own about a component */
};

#define GROUPS_SOCKET (GROUP_SOCKET | GROUP_OWN)
#define GROUPS_COMPONENT (GROUP_UNIT | GROUP_SERVICE | GROUP_OWN_COMPONENT)

enum directive_status {
        DIRECTIVE_HONOURED,
        DIRECTIVE_LATER,       /* a later version honours it: until then an error in fdpass.conf */
        DIRECTIVE_UNSUPPORTED, /* systemd has it, fdpass will not: likewise */
};

/* What a directive that is not honoured gives in a unit file. */
enum unit_file_outcome {
        UNIT_FILE_WARNING,
        UNIT_FILE_SILENT, /* its absence changes nothing about the listener */
        UNIT_FILE_ERROR,  /* without it there would be no socket, another one, or a more open one */
        /* it restricts the program: an error, with IgnoreSandboxing=yes a warning; in fdpass.conf
         * too */
        UNIT_FILE_SANDBOX,
};

struct directive;

/* One assignment, while it takes effect. */
struct setting {
        struct draft *draft;
        struct draft_socket *socket;       /* NULL elsewhere than in a listener */
        struct draft_component *component; /* NULL elsewhere than in a component */
        const struct directive *directive;
        struct place place;
};

struct directive {
        const char *key;
        enum directive_group group;
        enum directive_status status;

        /* Honoured: reads `value` into the member at `offset` of the socket's or the broker's
         * configuration, or reports why not. An empty value sets the default: here when `size` is
         * not 0 (copied from the defaults), else it is parse's to do. */
        void (*parse)(const struct setting *s, const char *value, void *member);
        size_t offset;
        size_t size;
        bool is_deferred; /* read when all listeners are known, for "%{port:NAME}" */

        /* Not honoured: */
        enum unit_file_outcome in_unit_file;
        bool is_listen;   /* an empty value resets the list of addresses, as in systemd */
        bool off_is_fine; /* a truth value, and "no" is what happens anyway */
        const char *off;  /* another value that says what happens anyway, or NULL */
        bool names_units; /* of other kinds than ours, such as a .target, do not matter */
        const char *why;  /* a clause for the message, or NULL */
};

/* The tables; each ends with a key of NULL. Those of components are a file of their own. */
extern const struct directive directives[];
extern const struct directive component_directives[];

/* Those of the groups in `groups` only. */
const struct directive *directive_find(const char *key, unsigned groups);

/* Is it one of those that systemd.exec(5), systemd.kill(5) and systemd.resource-control(5) add to
 * [Socket], about the processes of a unit? */
bool directive_is_shared(const char *key);
/* They, sorted; ends with NULL. */
extern const char *const shared_directives[];

/* Does the value of a directive that is not honoured say what happens anyway? */
bool directive_value_is_off(const struct directive *directive, const char *value);

/* What an unknown key was meant to be, or NULL. */
const char *directive_suggest(const char *key, unsigned groups);

/* Read the value of an honoured directive. */
void setting_apply(const struct setting *s, const char *value);

/* "KEY=VALUE: …", an error; a long value is cut. */
void setting_error(const struct setting *s, const char *value, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

#endif
