/* $VARIABLES in a command line, by the rules of systemd.service(5). */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "components/environment.h"
#include "config/component_config.h"

struct words {
        char **items;
        size_t count, capacity;
};

static void words_free(struct words *w) {
        for (size_t i = 0; i < w->count; i++)
                free(w->items[i]);
        free(w->items);
}

/* Takes word, also when it fails. */
static int words_add(struct words *w, char *word) {
        if (word && w->count + 2 > w->capacity) {
                size_t capacity = w->capacity > 0 ? 2 * w->capacity : 16;
                char **items = reallocarray(w->items, capacity, sizeof(*items));

                if (items) {
                        w->items = items;
                        w->capacity = capacity;
                }
        }
        if (!word || w->count + 2 > w->capacity) {
                free(word);
                return -ENOMEM;
        }
        w->items[w->count++] = word;
        w->items[w->count] = NULL;
        return 0;
}

/* The value of ${NAME} at p, "" when there is none; *ret_end is behind it. NULL: it is none. */
static const char *braced(const struct environment *e, const char *p, const char **ret_end) {
        char name[256];
        const char *end = strchr(p, '}'), *value;

        if (!end || (size_t) (end - p) - 2 >= sizeof(name))
                return NULL;
        memcpy(name, p + 2, (size_t) (end - p) - 2);
        name[end - p - 2] = '\0';
        value = environment_get(e, name);
        *ret_end = end + 1;
        return value ? value : "";
}

/* A word with its ${NAME} replaced and its $$ halved. NULL: no memory. */
static char *replaced(const struct environment *e, const char *word) {
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return NULL;
        for (const char *p = word; *p;) {
                const char *end = p, *value = NULL;

                if (p[0] == '$' && p[1] == '{')
                        value = braced(e, p, &end);
                if (value) {
                        (void) fputs(value, f);
                        p = end;
                        continue;
                }
                (void) fputc(*p, f);
                p += p[0] == '$' && p[1] == '$' ? 2 : 1;
        }
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

/* The next word of a value; quotes hold words together and are removed. NULL: no memory. */
static char *next_word(const char **p) {
        char *word = malloc(strlen(*p) + 1), *to = word;
        char quote = '\0';

        for (; word && **p && (quote || !isspace((unsigned char) **p)); (*p)++) {
                if (quote ? **p == quote : **p == '\'' || **p == '"')
                        quote = quote ? '\0' : **p;
                else if (**p == '\\' && quote != '\'' && (*p)[1])
                        *to++ = *++*p;
                else
                        *to++ = **p;
        }
        if (word)
                *to = '\0';
        return word;
}

static int add_split(struct words *w, const char *value) {
        int r = 0;

        for (const char *p = value; r == 0;) {
                while (isspace((unsigned char) *p))
                        p++;
                if (!*p)
                        break;
                r = words_add(w, next_word(&p));
        }
        return r;
}

/* Is the whole word "$NAME"? */
static bool is_variable(const char *word) {
        if (word[0] != '$' || isdigit((unsigned char) word[1]) || !word[1])
                return false;
        for (word++; *word; word++)
                if (!isalnum((unsigned char) *word) && *word != '_')
                        return false;
        return true;
}

int environment_expand(const struct environment *e, const struct command *command, char ***ret) {
        struct words words = {0};
        int r = 0;

        for (size_t i = 0; r == 0 && command->arguments[i]; i++) {
                const char *word = command->arguments[i];

                if (command->no_variables)
                        r = words_add(&words, strdup(word));
                else if (i > 0 && is_variable(word)) { /* argv[0] cannot vanish */
                        const char *value = environment_get(e, word + 1);
                        r = add_split(&words, value ? value : "");
                } else
                        r = words_add(&words, replaced(e, word));
        }
        if (r < 0) {
                words_free(&words);
                return r;
        }
        *ret = words.items;
        return 0;
}
