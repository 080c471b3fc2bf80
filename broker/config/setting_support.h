/* What the readers of values share: specifiers, identities, memory that runs out. */
#ifndef CONFIG_SETTING_SUPPORT_H
#define CONFIG_SETTING_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "config/directives.h"
#include "config/specifiers.h"

/* True when there was no memory for `pointer`, and remembers that. */
bool setting_lacks_memory(const struct setting *s, const void *pointer);

typedef int expand_function(const struct specifier_context *context, const char *text, char **ret,
                            char reason[SPECIFIERS_REASON_SIZE]);

/* The value with its specifiers expanded, for the caller to free; NULL when that was reported. */
char *setting_expand(const struct setting *s, const char *value, expand_function *expander);

/* For each word of the value, with its specifiers expanded; a value that cannot be split is
 * reported.
 */
typedef void word_handler(const struct setting *s, const char *word, void *owner);
void setting_each_word(const struct setting *s, const char *value, word_handler *handler,
                       void *owner);

/* The member has the text from now on. */
void setting_replace(char **member, char **text);

/* `shown` is the text as it stands in the file, with an '@' perhaps. False when it was reported. */
bool setting_read_uid(const struct setting *s, const char *text, const char *shown, uid_t *ret);
bool setting_read_gid(const struct setting *s, const char *text, const char *shown, gid_t *ret);

/* A number from min to max into *ret, or a report. */
void setting_read_number(const struct setting *s, const char *value, unsigned min, unsigned max,
                         unsigned *ret);

/* The place of `value` among `count` names, or -1 when that was reported. */
int setting_choose(const struct setting *s, const char *value, const char *const *names,
                   size_t count);

#endif
