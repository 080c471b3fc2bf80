/*
 * Finding the key that a misspelt one was meant to be: the fewest insertions, deletions and
 * replacements, without regard to case, and at most one for each three letters of the word. Another
 * letter is no misspelling of a name of one.
 */
#include "config/suggestion.h"

#include <ctype.h>
#include <string.h>

#define WORD_MAX 64 /* longer ones are no misspelling of any key */

static unsigned least(unsigned a, unsigned b, unsigned c) {
        unsigned ab = a < b ? a : b;

        return ab < c ? ab : c;
}

static unsigned distance(const char *a, const char *b) {
        size_t length = strlen(b);
        unsigned row[WORD_MAX + 1];

        for (size_t k = 0; k <= length; k++)
                row[k] = (unsigned) k;
        for (unsigned i = 1; *a; a++, i++) {
                unsigned diagonal = row[0];

                row[0] = i;
                for (size_t k = 1; k <= length; k++) {
                        int differs =
                                tolower((unsigned char) *a) != tolower((unsigned char) b[k - 1]);
                        unsigned next =
                                least(row[k] + 1, row[k - 1] + 1, diagonal + (differs != 0));

                        diagonal = row[k];
                        row[k] = next;
                }
        }
        return row[length];
}

const char *suggestion_better(const char *word, const char *best, const char *candidate) {
        size_t length = strlen(word);
        unsigned limit = length > 1 ? (unsigned) (length + 2) / 3 : 0;
        unsigned d;

        if (length > WORD_MAX || strlen(candidate) > WORD_MAX)
                return best;
        if (best)
                limit = distance(word, best) - 1; /* the first of equally near ones stays */
        d = distance(word, candidate);
        return limit + 1 > d ? candidate : best;
}
