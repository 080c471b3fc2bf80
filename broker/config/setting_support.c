/* See setting_support.h. */
#include "config/setting_support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "config/values.h"

bool setting_lacks_memory(const struct setting *s, const void *pointer) {
        if (!pointer)
                s->draft->out_of_memory = true;
        return !pointer;
}

/* What this assignment is about: a listener, a component, or nothing that has a name. */
static const char *subject(const struct setting *s, const char **ret_suffix) {
        if (s->socket) {
                *ret_suffix = s->socket->is_unit_file ? ".socket" : "";
                return s->socket->config.name;
        }
        if (s->component) {
                *ret_suffix = s->component->config->is_unit_file ? ".service" : "";
                return s->component->config->name;
        }
        return NULL;
}

static int listener_number(void *owner, const char *kind, const char *name,
                           char reason[SPECIFIERS_REASON_SIZE], unsigned *ret) {
        const struct setting *s = owner;

        return draft_listener_number(s->draft, s->component, kind, name, reason, ret);
}

char *setting_expand(const struct setting *s, const char *value, expand_function *expander) {
        struct specifier_context context = {
                .uid = s->draft->uid, .gid = s->draft->gid, .identities = s->draft->identities};
        _cleanup_free_ char *unit = NULL;
        char reason[SPECIFIERS_REASON_SIZE];
        const char *suffix;
        char *expanded;
        int r;

        if (!strchr(value, '%')) { /* nearly always */
                expanded = strdup(value);
                return setting_lacks_memory(s, expanded) ? NULL : expanded;
        }
        context.name = subject(s, &suffix);
        if (context.name) {
                if (asprintf(&unit, "%s%s", context.name, suffix) < 0)
                        unit = NULL;
                if (setting_lacks_memory(s, unit))
                        return NULL;
                context.unit = unit;
        }
        if (s->directive->is_deferred) { /* the listeners are known */
                context.listener = listener_number;
                context.owner = (void *) s;
        }
        r = expander(&context, value, &expanded, reason);
        if (r == 0)
                return expanded;
        if (r == -ENOMEM)
                s->draft->out_of_memory = true;
        else
                setting_error(s, value, "%s", reason);
        return NULL;
}

void setting_each_word(const struct setting *s, const char *value, word_handler *handler,
                       void *owner) {
        _cleanup_free_ char *text = setting_expand(s, value, specifiers_expand);
        const char *cursor = text;
        char *word;
        int r = 0;

        while (text && (r = value_next_word(&cursor, &word)) > 0) {
                handler(s, word, owner);
                free(word);
        }
        if (r == -ENOMEM)
                s->draft->out_of_memory = true;
        else if (r < 0)
                setting_error(s, value, "a quote is not closed or an escape is unknown");
}

/* What is wrong with a user or a group that identities_uid() or identities_gid() did not take. */
static void report_identity(const struct setting *s, const char *text, bool is_group, int error) {
        const char *noun = is_group ? "group" : "user";
        const char *file = is_group ? "/etc/group" : "/etc/passwd";

        if (error == -ENOMEM)
                s->draft->out_of_memory = true;
        else if (error == -ESRCH)
                setting_error(s, text,
                              "there is no such %s in %s, and names are looked up there only; a "
                              "numeric id always works",
                              noun, file);
        else if (error == -EINVAL)
                setting_error(s, text, "write the name of a %s, or a number from 0 to 4294967294",
                              noun);
        else
                setting_error(s, text, "%s cannot be read (%s): write a numeric id", file,
                              strerror(-error));
}

bool setting_read_uid(const struct setting *s, const char *text, const char *shown, uid_t *ret) {
        int r = identities_uid(s->draft->identities, text, ret);

        if (r < 0)
                report_identity(s, shown, false, r);
        return r == 0;
}

bool setting_read_gid(const struct setting *s, const char *text, const char *shown, gid_t *ret) {
        int r = identities_gid(s->draft->identities, text, ret);

        if (r < 0)
                report_identity(s, shown, true, r);
        return r == 0;
}

void setting_read_number(const struct setting *s, const char *value, unsigned min, unsigned max,
                         unsigned *ret) {
        uint64_t number;

        if (value_to_number(value, min, max, &number) < 0)
                setting_error(s, value, "write a number from %u to %u", min, max);
        else
                *ret = (unsigned) number;
}

void setting_replace(char **member, char **text) {
        free(*member);
        *member = *text;
        *text = NULL;
}

int setting_choose(const struct setting *s, const char *value, const char *const *names,
                   size_t count) {
        char list[256] = "";
        size_t used = 0;

        for (size_t i = 0; i < count; i++)
                if (strcmp(value, names[i]) == 0)
                        return (int) i;
        for (size_t i = 0; i < count && used < sizeof(list); i++)
                used += (size_t) snprintf(list + used, sizeof(list) - used, "%s%s",
                                          i == 0           ? ""
                                          : i + 1 == count ? " or "
                                                           : ", ",
                                          names[i]);
        setting_error(s, value, "write %s", list);
        return -1;
}
