/*
 * Reading the value of each kind of directive. A function writes its member only when the value is
 * right, and else reports what would be right; an empty value comes here only for what the table of
 * directives.c cannot reset by copying the default.
 */
#include "config/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "config/array.h"
#include "config/choices.h"
#include "config/parts.h"
#include "config/path.h"
#include "config/setting_support.h"
#include "config/values.h"
#include "control_socket.h"

#define LIMIT_MAX 1048576
#define FD_NAME_LENGTH_MAX 255 /* sd_listen_fds_with_names(3) */
#define OVERFLOW_ID 65534      /* see access.c */

/* ---- addresses ---- */

static int add_address(struct draft_socket *socket, const struct address *address,
                       struct place place) {
        struct socket_config *c = &socket->config;

        if (array_grow(&c->addresses, c->n_addresses, sizeof(*c->addresses)) < 0 ||
            array_grow(&socket->address_places, c->n_addresses, sizeof(struct place)) < 0)
                return -ENOMEM;
        c->addresses[c->n_addresses] = address_dup(address);
        if (!c->addresses[c->n_addresses])
                return -ENOMEM;
        socket->address_places[c->n_addresses++] = place;
        return 0;
}

void setting_listen_stream(const struct setting *s, const char *value, void *member) {
        _cleanup_free_ char *text = NULL;
        struct address address;
        const char *reason;

        if (!*value) {
                socket_config_drop_addresses(&s->socket->config);
                return;
        }
        text = setting_expand(s, value, specifiers_expand_address);
        if (!text) {
                s->socket->has_bad_address = true;
        } else if (address_parse(text, &address, &reason) < 0) {
                s->socket->has_bad_address = true;
                setting_error(s, text, "%s", reason);
        } else if (add_address(s->socket, &address, s->place) < 0) {
                s->draft->out_of_memory = true;
        }
}

void setting_ipv6_only(const struct setting *s, const char *value, void *member) {
        int choice = setting_choose(s, value, ipv6_only_words,
                                    sizeof(ipv6_only_words) / sizeof(ipv6_only_words[0]));

        if (choice >= 0)
                *(enum ipv6_only *) member = (enum ipv6_only) choice;
}

/* ---- numbers ---- */

void setting_unsigned(const struct setting *s, const char *value, void *member) {
        setting_read_number(s, value, 0, UINT32_MAX, member);
}

void setting_seconds(const struct setting *s, const char *value, void *member) {
        setting_read_number(s, value, 0, 3600, member);
}

void setting_limit(const struct setting *s, const char *value, void *member) {
        setting_read_number(s, value, 1, LIMIT_MAX, member);
}

void setting_mode(const struct setting *s, const char *value, void *member) {
        if (value_to_mode(value, member) < 0)
                setting_error(s, value, "write a file mode in octal digits, such as 0660");
}

void setting_bool(const struct setting *s, const char *value, void *member) {
        if (value_to_bool(value, member) < 0)
                setting_error(s, value, "write yes or no");
}

/* ---- users and groups ---- */

void setting_socket_user(const struct setting *s, const char *value, void *member) {
        _cleanup_free_ char *text = NULL;

        if (!*value) {
                s->socket->config.has_socket_user = false;
                return;
        }
        text = setting_expand(s, value, specifiers_expand);
        if (!text || !setting_read_uid(s, text, text, member))
                return;
        s->socket->config.has_socket_user = true;
        s->socket->user_place = s->place;
}

void setting_socket_group(const struct setting *s, const char *value, void *member) {
        _cleanup_free_ char *text = NULL;

        if (!*value) {
                s->socket->config.has_socket_group = false;
                return;
        }
        text = setting_expand(s, value, specifiers_expand);
        if (text && setting_read_gid(s, text, text, member))
                s->socket->config.has_socket_group = true;
}

static bool is_overflow_id(const struct setting *s, const char *word, unsigned id) {
        if (id != OVERFLOW_ID)
                return false;
        setting_error(
                s, word,
                "id %d stands for everybody whom the kernel cannot name, so it never matches: "
                "name a user or group of its own",
                OVERFLOW_ID);
        return true;
}

static int add_id(unsigned **ids, size_t *count, unsigned id) {
        if (array_grow(ids, *count, sizeof(**ids)) < 0)
                return -ENOMEM;
        (*ids)[(*count)++] = id;
        return 0;
}

static void add_rule(const struct setting *s, const char *word, struct access_list *list) {
        unsigned id;
        int r;

        if (word[0] == '@') {
                if (!setting_read_gid(s, word + 1, word, &id) || is_overflow_id(s, word, id))
                        return;
                r = add_id(&list->groups, &list->n_groups, id);
        } else {
                if (!setting_read_uid(s, word, word, &id) || is_overflow_id(s, word, id))
                        return;
                r = add_id(&list->users, &list->n_users, id);
        }
        if (r < 0)
                s->draft->out_of_memory = true;
}

void setting_access(const struct setting *s, const char *value, void *member) {
        _cleanup_free_ char *text = NULL;
        const char *cursor;
        char *word;
        int r;

        if (!*value) {
                access_list_clear(member);
                return;
        }
        text = setting_expand(s, value, specifiers_expand);
        if (!text)
                return;
        cursor = text;
        while ((r = value_next_word(&cursor, &word)) > 0) {
                add_rule(s, word, member);
                free(word);
        }
        if (r == -ENOMEM)
                s->draft->out_of_memory = true;
        else if (r < 0)
                setting_error(s, value,
                              "a quote is not closed or an escape is unknown: write users and "
                              "@groups with spaces between them");
}

/* ---- names and paths ---- */

static bool is_fd_name(const char *text) {
        for (const char *p = text; *p; p++)
                if ((unsigned char) *p < 0x20 || (unsigned char) *p >= 0x7f || *p == ':')
                        return false;
        return *text && strlen(text) <= FD_NAME_LENGTH_MAX && value_is_text(text);
}

void setting_fd_name(const struct setting *s, const char *value, void *member) {
        _cleanup_free_ char *text = NULL;

        if (!*value) {
                free(*(char **) member);
                *(char **) member = NULL;
                return;
        }
        text = setting_expand(s, value, specifiers_expand);
        if (!text)
                return;
        if (!is_fd_name(text)) {
                setting_error(s, text,
                              "write at most %d ASCII characters without ':' and control "
                              "characters",
                              FD_NAME_LENGTH_MAX);
                return;
        }
        setting_replace(member, &text);
        s->socket->fd_name_place = s->place;
}

void setting_control_socket(const struct setting *s, const char *value, void *member) {
        _cleanup_free_ char *text = NULL, *path = NULL;
        char normalized[CONTROL_SOCKET_PATH_SIZE];
        const char *reason;

        if (!*value) {
                free(*(char **) member);
                *(char **) member = NULL;
                return;
        }
        text = setting_expand(s, value, specifiers_expand);
        if (!text)
                return;
        if (path_normalize(text, normalized, sizeof(normalized), &reason) < 0) {
                setting_error(s, text, "%s", reason);
                return;
        }
        path = strdup(normalized);
        if (setting_lacks_memory(s, path))
                return;
        setting_replace(member, &path);
        s->draft->control_socket_place = s->place;
}

void setting_log_level(const struct setting *s, const char *value, void *member) {
        if (!*value) {
                s->draft->broker.has_log_level = false;
                *(enum log_level *) member = s->draft->broker_defaults.log_level;
        } else if (log_level_from_name(value, member) < 0) {
                setting_error(s, value, "write error, warning, notice, info or debug");
        } else {
                s->draft->broker.has_log_level = true;
        }
}

void setting_stop_components(const struct setting *s, const char *value, void *member) {
        bool *stop = member;

        s->draft->broker.has_stop_components = *value != '\0';
        if (*value)
                setting_bool(s, value, stop);
        else
                *stop = false;
}
