/*
 * Specifiers, by a table of letters. They are resolved when the configuration is loaded. The
 * folders are the system's for root and those of the XDG base directories for anybody else, as with
 * systemd's system and user manager. Unlike systemd, an unknown letter is an error: systemd leaves
 * it as it is, so that "%eth0" works and "%wlan0" does not.
 */
#include "config/specifiers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cleanup.h"
#include "names.h"

struct specifier;

struct expansion {
        const struct specifier_context *context;
        const struct specifier *specifier; /* being resolved */
        char *reason;
        size_t length;
        char text[SPECIFIERS_RESULT_MAX];
};

struct specifier {
        char letter;
        bool needs_unit;
        int (*resolve)(struct expansion *e);
        const char *system;      /* what folder specifiers are for root … */
        const char *environment; /* … and for others: this variable … */
        const char *in_home;     /* … or this below the home folder; NULL: there is no other */
        const char *below;       /* added for others in any case */
};

static int fail(struct expansion *e, const char *text) {
        snprintf(e->reason, SPECIFIERS_REASON_SIZE, "'%%%c' %s", e->specifier->letter, text);
        return -EINVAL;
}

static int put(struct expansion *e, const char *text, size_t length) {
        if (e->length + length >= sizeof(e->text)) {
                snprintf(e->reason, SPECIFIERS_REASON_SIZE,
                         "this becomes longer than %d bytes when its specifiers are expanded",
                         SPECIFIERS_RESULT_MAX);
                return -E2BIG;
        }
        memcpy(e->text + e->length, text, length);
        e->length += length;
        return 0;
}

static int put_string(struct expansion *e, const char *text) {
        return put(e, text, strlen(text));
}

/* ---- the unit's name ---- */

static int put_unit(struct expansion *e) {
        return put_string(e, e->context->unit);
}

static int put_name(struct expansion *e) {
        return put_string(e, e->context->name);
}

/* "web" of "web@8080" */
static size_t prefix_length(const struct expansion *e) {
        return strcspn(e->context->name, "@");
}

static int put_prefix(struct expansion *e) {
        return put(e, e->context->name, prefix_length(e));
}

static int put_last_of_prefix(struct expansion *e) {
        const char *name = e->context->name;
        size_t length = prefix_length(e), start = length;

        while (start > 0 && name[start - 1] != '-')
                start--;
        return put(e, name + start, length - start);
}

/* "8080" of "web@8080", "" of "web" */
static const char *instance(const struct expansion *e) {
        const char *at = strchr(e->context->name, '@');

        return at ? at + 1 : "";
}

static int put_instance(struct expansion *e) {
        return put_string(e, instance(e));
}

/* systemd-escape(1) the other way; names here have no backslash, so only '-' is left. */
static int put_unescaped_instance(struct expansion *e) {
        for (const char *p = instance(e); *p; p++) {
                int r = put(e, *p == '-' ? "/" : p, 1);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- the user ---- */

static int put_user_name(struct expansion *e) {
        struct user user;

        if (e->context->uid == 0)
                return put_string(e, "root");
        if (identities_user(e->context->identities, e->context->uid, &user) < 0)
                return fail(e, "is the broker's user, who has no name in /etc/passwd: "
                               "use '%U', the number");
        return put_string(e, user.name);
}

static int put_group_name(struct expansion *e) {
        const char *name;

        if (e->context->uid == 0)
                return put_string(e, "root");
        if (identities_group_name(e->context->identities, e->context->gid, &name) < 0)
                return fail(e, "is the broker's group, which has no name in /etc/group: "
                               "use '%G', the number");
        return put_string(e, name);
}

static int put_number(struct expansion *e, unsigned number) {
        char text[16];

        snprintf(text, sizeof(text), "%u", number);
        return put_string(e, text);
}

static int put_uid(struct expansion *e) {
        return put_number(e, e->context->uid);
}

static int put_gid(struct expansion *e) {
        return put_number(e, e->context->uid == 0 ? 0 : e->context->gid);
}

/* A variable counts only when it is an absolute path. */
static const char *folder_variable(const char *name) {
        const char *value = secure_getenv(name);

        return value && value[0] == '/' ? value : NULL;
}

static const char *home_folder(const struct expansion *e) {
        const char *home = folder_variable("HOME");
        struct user user;

        if (e->context->uid == 0)
                return "/root";
        if (home)
                return home;
        if (identities_user(e->context->identities, e->context->uid, &user) == 0 &&
            user.home[0] == '/')
                return user.home;
        return NULL;
}

static int put_home(struct expansion *e) {
        const char *home = home_folder(e);

        return home ? put_string(e, home)
                    : fail(e, "is the home folder, and there is none: set HOME");
}

/* ---- folders ---- */

static int put_folder(struct expansion *e) {
        const struct specifier *s = e->specifier;
        const char *folder, *home;
        int r;

        if (e->context->uid == 0)
                return put_string(e, s->system);
        folder = folder_variable(s->environment);
        if (folder) {
                r = put_string(e, folder);
        } else {
                home = s->in_home ? home_folder(e) : NULL;
                if (!home) {
                        snprintf(e->reason, SPECIFIERS_REASON_SIZE,
                                 "'%%%c' is a folder of the broker's user, and it is not known: "
                                 "set %s",
                                 s->letter, s->environment);
                        return -EINVAL;
                }
                r = put_string(e, home);
                if (r == 0)
                        r = put_string(e, s->in_home);
        }
        return r == 0 && s->below ? put_string(e, s->below) : r;
}

static int put_temporary_folder(struct expansion *e) {
        static const char *const variables[] = {"TMPDIR", "TEMP", "TMP"};

        for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
                if (folder_variable(variables[i]))
                        return put_string(e, folder_variable(variables[i]));
        return put_string(e, e->specifier->system);
}

/* ---- the machine ---- */

static int put_host_name(struct expansion *e) {
        struct utsname names;

        return uname(&names) < 0 ? fail(e, "is not known: uname(2) fails")
                                 : put_string(e, names.nodename);
}

static int put_short_host_name(struct expansion *e) {
        struct utsname names;

        return uname(&names) < 0 ? fail(e, "is not known: uname(2) fails")
                                 : put(e, names.nodename, strcspn(names.nodename, "."));
}

static int put_kernel_release(struct expansion *e) {
        struct utsname names;

        return uname(&names) < 0 ? fail(e, "is not known: uname(2) fails")
                                 : put_string(e, names.release);
}

/* 32 hexadecimal digits, with or without the hyphens of a UUID. */
static int put_id_of_file(struct expansion *e, const char *path, const char *reason) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        char data[64], id[32];
        ssize_t size = fd < 0 ? -1 : read(fd, data, sizeof(data));
        size_t n = 0;

        for (ssize_t i = 0; i < size && n < sizeof(id); i++) {
                if (data[i] == '-')
                        continue;
                if (!memchr("0123456789abcdef", data[i], 16))
                        break;
                id[n++] = data[i];
        }
        return n == sizeof(id) ? put(e, id, n) : fail(e, reason);
}

static int put_machine_id(struct expansion *e) {
        return put_id_of_file(e, "/etc/machine-id",
                              "is the machine id, and /etc/machine-id has none");
}

static int put_boot_id(struct expansion *e) {
        return put_id_of_file(e, "/proc/sys/kernel/random/boot_id",
                              "is the boot id, and /proc/sys/kernel/random/boot_id has none");
}

static int put_percent(struct expansion *e) {
        return put_string(e, "%");
}

static const struct specifier specifiers[] = {
        {'%', false, put_percent},
        {'n', true, put_unit},
        {'N', true, put_name},
        {'p', true, put_prefix},
        {'j', true, put_last_of_prefix},
        {'i', true, put_instance},
        {'I', true, put_unescaped_instance},
        {'u', false, put_user_name},
        {'U', false, put_uid},
        {'g', false, put_group_name},
        {'G', false, put_gid},
        {'h', false, put_home},
        {'t', false, put_folder, "/run", "XDG_RUNTIME_DIR", NULL},
        {'S', false, put_folder, "/var/lib", "XDG_STATE_HOME", "/.local/state"},
        {'C', false, put_folder, "/var/cache", "XDG_CACHE_HOME", "/.cache"},
        {'L', false, put_folder, "/var/log", "XDG_STATE_HOME", "/.local/state", "/log"},
        {'E', false, put_folder, "/etc", "XDG_CONFIG_HOME", "/.config"},
        {'T', false, put_temporary_folder, "/tmp"},
        {'V', false, put_temporary_folder, "/var/tmp"},
        {'H', false, put_host_name},
        {'l', false, put_short_host_name},
        {'v', false, put_kernel_release},
        {'m', false, put_machine_id},
        {'b', false, put_boot_id},
};

static const struct specifier *find_specifier(char letter) {
        for (size_t i = 0; i < sizeof(specifiers) / sizeof(specifiers[0]); i++)
                if (specifiers[i].letter == letter)
                        return &specifiers[i];
        return NULL;
}

static int put_specifier(struct expansion *e, char letter) {
        e->specifier = find_specifier(letter);
        if (!e->specifier) {
                snprintf(e->reason, SPECIFIERS_REASON_SIZE,
                         letter > ' ' && letter < 0x7f
                                 ? "'%%%c' is no specifier: write '%%%%' for a percent sign"
                                 : "a '%%' stands alone: write '%%%%' for a percent sign",
                         letter);
                return -EINVAL;
        }
        if (e->specifier->needs_unit && !e->context->unit)
                return fail(e, "is part of a name and has no meaning in [Broker]");
        return e->specifier->resolve(e);
}

/* "%{port:web}", "%{fd:web}"; *text stands at the '{' and goes behind the '}'. */
static int put_listener_number(struct expansion *e, const char **text) {
        const char *end = strchr(*text, '}'), *begin = *text + 1;
        char words[NAME_LENGTH_MAX + 8], *name;
        unsigned number;
        int r;

        if (!end || (size_t) (end - begin) >= sizeof(words)) {
                snprintf(e->reason, SPECIFIERS_REASON_SIZE,
                         "write '%%{port:LISTENER}' or '%%{fd:LISTENER}', or '%%%%' for a percent "
                         "sign");
                return -EINVAL;
        }
        *(char *) mempcpy(words, begin, (size_t) (end - begin)) = '\0';
        *text = end + 1;
        name = strchr(words, ':');
        if (!name || !e->context->listener) {
                snprintf(e->reason, SPECIFIERS_REASON_SIZE, "'%%{%.40s}' %s", words,
                         name ? "has a meaning only in the commands, the health check and "
                                "Environment= of a component"
                              : "is no specifier: write '%{port:LISTENER}' or '%{fd:LISTENER}'");
                return -EINVAL;
        }
        *name++ = '\0';
        r = e->context->listener(e->context->owner, words, name, e->reason, &number);
        return r < 0 ? r : put_number(e, number);
}

static int expand_from(struct expansion *e, const char *text) {
        int r = 0;

        while (*text && r == 0) {
                size_t plain = strcspn(text, "%");

                r = put(e, text, plain);
                text += plain;
                if (text[0] == '%' && text[1] == '{' && r == 0) {
                        text++;
                        r = put_listener_number(e, &text);
                } else if (*text == '%' && r == 0) {
                        r = put_specifier(e, text[1]);
                        text += text[1] ? 2 : 1;
                }
        }
        return r;
}

static int finish(struct expansion *e, int r, char **ret) {
        char *copy;

        if (r < 0)
                return r;
        copy = strndup(e->text, e->length);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

int specifiers_expand(const struct specifier_context *context, const char *text, char **ret,
                      char reason[SPECIFIERS_REASON_SIZE]) {
        struct expansion e = {.context = context, .reason = reason};

        reason[0] = '\0';
        return finish(&e, expand_from(&e, text), ret);
}

/* "[HOST%SCOPE]" as it stands; "%%" is taken too, since that is how a percent sign is written. */
static int put_bracket(struct expansion *e, const char **text) {
        size_t host = strcspn(*text, "%]");
        size_t length = strcspn(*text, "]");
        const char *scope = *text + host;
        int r;

        /* "[%i]": nothing stands before the '%' whose interface it could be */
        if (host == 1 || host == length || (*text)[length] == '\0')
                return 0;
        r = put(e, *text, host);
        *text += length;
        if (scope[0] == '%' && scope[1] == '%')
                scope++;
        return r == 0 ? put(e, scope, (size_t) (*text - scope)) : r;
}

int specifiers_expand_address(const struct specifier_context *context, const char *text, char **ret,
                              char reason[SPECIFIERS_REASON_SIZE]) {
        struct expansion e = {.context = context, .reason = reason};
        int r = 0;

        reason[0] = '\0';
        if (text[0] == '[')
                r = put_bracket(&e, &text);
        if (r == 0)
                r = expand_from(&e, text);
        return finish(&e, r, ret);
}
