/* A component that says what it is told to: the test's own program. */
#ifndef TESTS_SPEAKER_SUPPORT_H
#define TESTS_SPEAKER_SUPPORT_H

#include "life_support.h"

#define NO_WORD "not ready within TimeoutStartSec= (60 s): it has not said READY=1"

/* The beginning of a command line: this program, whose main() calls speaker_play() for "play". */
const char *speaker(void);
/*
 * "KEY=VALUE" is said ("+" for a newline), "@FILE" waited for, "!FILE" made when a SIGHUP comes,
 * ":3" exits. At the end it lives on, but not for ever: a test that failed leaves nothing behind.
 */
int speaker_play(char **words);
void speaker_say(const char *text); /* to $NOTIFY_SOCKET */

/* Component "a" with these directives, in a scene of its own; it has begun. */
struct instance *speaker_start(struct scene *l, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
void speaker_until(struct scene *l, const struct instance *i, enum life life);
/* It is gone by then; as it was. */
const struct instance *speaker_until_ended(struct scene *l);

#endif
