/*
 * The verbs. One verb is one row of one table; the dispatcher checks a request against its row, so
 * a handler starts from a valid one. docs/protocol.md, the fuzzer's dictionary and the tests are
 * compared with the table.
 */
#ifndef CONTROL_VERBS_H
#define CONTROL_VERBS_H

#include <stdbool.h>
#include <stddef.h>

#include "grammar.h"

struct session;
struct component;
struct listener;
struct request;

enum need {
        OPTIONAL,
        REQUIRED,
        ONE_OF, /* at least one of the keys so marked */
};

enum form {
        FORM_TEXT,
        FORM_NAME, /* names.h */
        FORM_ONE,  /* "1": a switch; to have it off, leave it out */
        FORM_NUMBER,
        FORM_NAMES, /* names with one space between them */
        FORM_ID,    /* 0-9 a-z A-Z - */
};

enum right {
        RIGHT_ANYONE,
        RIGHT_SEE,     /* NAME=, when given, is a listener that the peer may see, else ENOENT */
        RIGHT_SEE_ANY, /* the same, a listener or a component (or both have this name) */
        RIGHT_ACQUIRE, /* the same, and it may acquire it, else EACCES */
        RIGHT_STORE,   /* StoreAccess= of [Broker], else EACCES */
        RIGHT_OPERATE, /* operators of the broker, else EACCES */
        RIGHT_OPERATE_COMPONENT, /* likewise: to start and stop components, and read their output */
        RIGHT_OWN,               /* root and the broker's own user, else EACCES */
};

struct verb_key {
        const char *name; /* NULL: no more */
        enum need need;
        enum form form;
        size_t length_max;
};

#define VERB_KEYS_MAX 4

struct verb {
        const char *name;
        struct verb_key keys[VERB_KEYS_MAX + 1];
        unsigned min_fds, max_fds; /* of the request */
        enum right right;
        void (*handle)(struct request *request);
};

extern const struct verb verbs[];
extern const size_t n_verbs;

/* A request that was found valid. */
struct request {
        struct session *session;
        const struct verb *verb;
        const struct assignments *keys;
        struct text serial; /* start is NULL when there is none */
        /* Of NAME=, where the verb's right is SEE, SEE_ANY or ACQUIRE; NULL: none of that name. */
        struct listener *listener;
        struct component *component; /* the same, of SEE_ANY */
};

/*
 * Answer one packet that came with n_fds descriptors. 0, or the error of grammar_parse() when it
 * breaks the grammar: then nothing was answered and the session is to be ended.
 */
int verbs_dispatch(struct session *session, const char *data, size_t size, size_t n_fds);

/* The component of this (valid) name, NULL when there is none. */
struct component *request_component(const struct request *request, struct text name);

/* The handlers, each in the file of its family. */
void handle_hello(struct request *request);
void handle_acquire(struct request *request);
void handle_release(struct request *request);
void handle_notify(struct request *request);
void handle_watch(struct request *request);
void handle_status(struct request *request);
void handle_apply(struct request *request);
void handle_upgrade(struct request *request);
void handle_operate(struct request *request); /* START, STOP and their kind */
void handle_logs(struct request *request);
void handle_keeper(struct request *request);
void handle_store(struct request *request);
void handle_take(struct request *request);
void handle_taken(struct request *request);
void handle_drop(struct request *request);
void handle_stored(struct request *request);
void handle_offer(struct request *request);

#endif
