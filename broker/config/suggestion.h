/* "Did you mean …?" */
#ifndef CONFIG_SUGGESTION_H
#define CONFIG_SUGGESTION_H

/* The better one of two guesses for what `word` was meant to be: as good as `best` (may be NULL) or
 * `candidate` when that is nearer; NULL when none is near. */
const char *suggestion_better(const char *word, const char *best, const char *candidate);

#endif
