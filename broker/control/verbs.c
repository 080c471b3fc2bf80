/*
 * The table of verbs, and the dispatcher that goes by it.
 *
 * What breaks the grammar ends the session, because nothing that follows can be trusted to mean
 * what it says. What is merely not to be had is answered, and the conversation goes on.
 */
#include "control/verbs.h"

#include <errno.h>
#include <string.h>

#include "components/component_table.h"
#include "control/answer.h"
#include "control/control_private.h"
#include "control/operate.h"
#include "control/permission.h"
#include "control/serial.h"
#include "control/session.h"
#include "control/upgrade.h"
#include "names.h"
#include "sockets/listener_table.h"

/* START and its kind differ in the job that they begin, and in nothing that a row says. */
#define OPERATION(verb)                                                                            \
        {                                                                                          \
                verb,                                                                              \
                        {{"NAMES", ONE_OF, FORM_NAMES, OPERATE_NAMES_SIZE},                        \
                         {"ALL", ONE_OF, FORM_ONE, 1},                                             \
                         {"JOB", OPTIONAL, FORM_ID, JOB_ID_SIZE - 1},                              \
                         {"NO_WAIT", OPTIONAL, FORM_ONE, 1}},                                      \
                        0, 0, RIGHT_OPERATE_COMPONENT, handle_operate                              \
        }

const struct verb verbs[] = {
        {"HELLO", {{0}}, 0, 0, RIGHT_ANYONE, handle_hello},
        {"ACQUIRE",
         {{"NAME", REQUIRED, FORM_NAME, NAME_LENGTH_MAX}},
         0,
         0,
         RIGHT_ACQUIRE,
         handle_acquire},
        /* Giving back needs no permission: who has no lease hears ENOENT like who has no listener.
         */
        {"RELEASE",
         {{"NAME", REQUIRED, FORM_NAME, NAME_LENGTH_MAX}},
         0,
         0,
         RIGHT_ANYONE,
         handle_release},
        {"NOTIFY",
         {{"READY", ONE_OF, FORM_ONE, 1}, {"STATUS", ONE_OF, FORM_TEXT, 255}},
         0,
         0,
         RIGHT_ANYONE,
         handle_notify},
        {"WATCH", {{"NAME", OPTIONAL, FORM_NAME, NAME_LENGTH_MAX}}, 0, 0, RIGHT_SEE, handle_watch},
        {"STATUS",
         {{"NAME", OPTIONAL, FORM_NAME, NAME_LENGTH_MAX}},
         0,
         0,
         RIGHT_SEE_ANY,
         handle_status},
        {"APPLY", {{"ALLOW_CLOSE", OPTIONAL, FORM_ONE, 1}}, 0, 0, RIGHT_OPERATE, handle_apply},
        {"UPGRADE",
         {{"PATH", OPTIONAL, FORM_TEXT, UPGRADE_PATH_MAX}},
         0,
         0,
         RIGHT_OWN,
         handle_upgrade},
        OPERATION("START"),
        OPERATION("STOP"),
        OPERATION("RESTART"),
        OPERATION("RELOAD"),
        OPERATION("PAUSE"),
        OPERATION("RESUME"),
        {"LOGS",
         {{"NAME", REQUIRED, FORM_NAME, NAME_LENGTH_MAX},
          {"LINES", OPTIONAL, FORM_NUMBER, 5},
          {"FOLLOW", OPTIONAL, FORM_ONE, 1}},
         0,
         0,
         RIGHT_OPERATE_COMPONENT,
         handle_logs},
        {"KEEPER",
         {{"CONFIG", REQUIRED, FORM_TEXT, UPGRADE_PATH_MAX}},
         1,
         1,
         RIGHT_OWN,
         handle_keeper},
        {"STORE",
         {{"NAME", REQUIRED, FORM_NAME, NAME_LENGTH_MAX}, {"SIZE", OPTIONAL, FORM_NUMBER, 5}},
         1,
         FD_LIST_MAX,
         RIGHT_STORE,
         handle_store},
        /* The following four are about what the peer's own uid has stored, so that anyone may. */
        {"TAKE", {{"NAME", REQUIRED, FORM_NAME, NAME_LENGTH_MAX}}, 0, 0, RIGHT_ANYONE, handle_take},
        {"TAKEN",
         {{"NAME", REQUIRED, FORM_NAME, NAME_LENGTH_MAX},
          {"ACK", REQUIRED, FORM_TEXT, STATE_ID_SIZE - 1}},
         0,
         0,
         RIGHT_ANYONE,
         handle_taken},
        {"DROP",
         {{"NAME", REQUIRED, FORM_NAME, NAME_LENGTH_MAX},
          {"UID", OPTIONAL, FORM_NUMBER, 10},
          {"COMPONENT", OPTIONAL, FORM_NAME, NAME_LENGTH_MAX}},
         0,
         0,
         RIGHT_ANYONE,
         handle_drop},
        {"STORED", {{0}}, 0, 0, RIGHT_ANYONE, handle_stored},
        /* Access= is looked up in the configuration: there is no listener while one is offered. */
        {"OFFER",
         {{"NAME", REQUIRED, FORM_NAME, NAME_LENGTH_MAX}},
         1,
         1,
         RIGHT_ANYONE,
         handle_offer},
};

const size_t n_verbs = sizeof(verbs) / sizeof(verbs[0]);

/* For a sentence that quotes what a peer wrote: short, and without control characters. */
struct quote {
        char text[KEY_LENGTH_MAX + 1];
};

static struct quote quote(struct text t) {
        struct quote q;
        size_t n = t.length < KEY_LENGTH_MAX ? t.length : KEY_LENGTH_MAX;

        for (size_t i = 0; i < n; i++)
                q.text[i] = t.start[i] > ' ' && t.start[i] < 0x7f ? t.start[i] : '?';
        q.text[n] = '\0';
        return q;
}

static const struct verb *find_verb(struct text name) {
        for (size_t i = 0; i < n_verbs; i++)
                if (text_equal(name, verbs[i].name))
                        return &verbs[i];
        return NULL;
}

static const struct verb_key *find_key(const struct verb *verb, struct text name) {
        for (const struct verb_key *k = verb->keys; k->name; k++)
                if (text_equal(name, k->name))
                        return k;
        return NULL;
}

/* ---- one check each: true, or it has answered -------------------------------------------------*/

static bool check_serial(struct request *request) {
        const struct text *serial = assignments_get(request->keys, "SERIAL");

        if (!serial)
                return true;
        if (serial->length > SERIAL_LENGTH_MAX) {
                answer_error(request, EINVAL, "SERIAL= has %zu bytes; at most %d are allowed",
                             serial->length, SERIAL_LENGTH_MAX);
                return false;
        }
        request->serial = *serial;
        return true;
}

/* Told as an answer, not at once: a client that has not asked yet would not find it. */
static bool check_session(const struct request *request) {
        struct session *s = request->session;
        unsigned limit = s->control->broker->limits.sessions_per_user;

        if (!s->over_limit)
                return true;
        answer_error(request, EDQUOT, "this user has %u sessions, which is the limit: close some",
                     limit);
        s->state = SESSION_ENDING;
        return false;
}

static bool check_verb(struct request *request) {
        const struct assignment *first = &request->keys->items[0];

        if (!text_equal(first->key, "VERB")) {
                answer_error(request, EINVAL,
                             "a request begins with VERB=, not with %s=", quote(first->key).text);
                return false;
        }
        request->verb = find_verb(first->value);
        if (!request->verb)
                answer_error(request, EOPNOTSUPP, "this broker knows no verb \"%s\"",
                             quote(first->value).text);
        return request->verb;
}

static bool check_fds(const struct request *request, size_t n_fds) {
        if (n_fds >= request->verb->min_fds && n_fds <= request->verb->max_fds)
                return true;
        answer_error(request, EINVAL, "%s takes %u to %u descriptors, and %zu came",
                     request->verb->name, request->verb->min_fds, request->verb->max_fds, n_fds);
        return false;
}

static bool check_value(const struct request *request, const struct verb_key *key,
                        struct text value) {
        const char *verb = request->verb->name;
        uint64_t number;

        if (value.length > key->length_max)
                answer_error(request, EINVAL, "%s: %s= has %zu bytes; at most %zu are allowed",
                             verb, key->name, value.length, key->length_max);
        else if (key->form == FORM_ONE && !text_equal(value, "1"))
                answer_error(request, EINVAL, "%s: %s= can only be 1; leave it out instead", verb,
                             key->name);
        else if (key->form == FORM_NUMBER && text_to_u64(value, &number) < 0)
                answer_error(request, EINVAL, "%s: %s= is a number", verb, key->name);
        else if (key->form == FORM_NAME && !name_is_valid(value.start, value.length))
                answer_error(request, EINVAL,
                             "%s: \"%s\" is no possible name: 1 to 255 of A-Z a-z 0-9 . _ @ -, not "
                             "beginning with . or -",
                             verb, quote(value).text);
        else if (key->form == FORM_NAMES && !operate_names_are_valid(value))
                answer_error(request, EINVAL,
                             "%s: %s= is 1 to %d names with one space between them", verb,
                             key->name, OPERATE_NAMES_MAX);
        else if (key->form == FORM_ID && !operate_id_is_valid(value))
                answer_error(request, EINVAL, "%s: %s= is 1 to %zu of 0-9 a-z A-Z -", verb,
                             key->name, key->length_max);
        else
                return true;
        return false;
}

/* Is it a key of the row, or one that may stand in any request? */
static bool check_assignment(const struct request *request, const struct assignment *a) {
        const struct verb_key *key = find_key(request->verb, a->key);

        if (key)
                return check_value(request, key, a->value);
        if (text_equal(a->key, "VERB") || text_equal(a->key, "SERIAL") ||
            (a->key.length > 2 && memcmp(a->key.start, "X-", 2) == 0))
                return true;
        answer_error(request, EINVAL, "%s knows no key %s=", request->verb->name,
                     quote(a->key).text);
        return false;
}

static bool check_missing(const struct request *request) {
        const struct verb *verb = request->verb;
        bool wants_one = false, has_one = false;

        for (const struct verb_key *k = verb->keys; k->name; k++) {
                bool present = assignments_get(request->keys, k->name);

                wants_one = wants_one || k->need == ONE_OF;
                has_one = has_one || (k->need == ONE_OF && present);
                if (k->need == REQUIRED && !present) {
                        answer_error(request, EINVAL, "%s needs %s=", verb->name, k->name);
                        return false;
                }
        }
        if (wants_one && !has_one)
                answer_error(request, EINVAL, "%s needs %s= or %s=", verb->name, verb->keys[0].name,
                             verb->keys[1].name);
        return has_one || !wants_one;
}

static bool check_keys(const struct request *request) {
        for (size_t i = 0; i < request->keys->count; i++)
                if (!check_assignment(request, &request->keys->items[i]))
                        return false;
        return check_missing(request);
}

/* A valid name, so it fits. */
static const char *terminate(struct text name, char buffer[NAME_LENGTH_MAX + 1]) {
        memcpy(buffer, name.start, name.length);
        buffer[name.length] = '\0';
        return buffer;
}

static struct listener *find_listener(const struct request *request, struct text name) {
        char buffer[NAME_LENGTH_MAX + 1];

        return listener_table_find(request->session->control->broker->listeners,
                                   terminate(name, buffer));
}

struct component *request_component(const struct request *request, struct text name) {
        const struct component_table *table = request->session->control->broker->components;
        char buffer[NAME_LENGTH_MAX + 1];

        return table ? component_find(table, terminate(name, buffer)) : NULL;
}

static bool check_listener(struct request *request) {
        const struct text *name = assignments_get(request->keys, "NAME");
        struct session *s = request->session;
        struct listener *listener;

        if (!name)
                return true;
        listener = find_listener(request, *name);
        if (listener && request->verb->right == RIGHT_ACQUIRE &&
            permission_to_acquire(s, listener)) {
                request->listener = listener;
                return true;
        }
        if (!listener || !permission_to_see(s, listener)) {
                answer_error(request, ENOENT,
                             "there is no listener %.*s, or none that this user may know of",
                             (int) name->length, name->start);
                return false;
        }
        if (request->verb->right == RIGHT_ACQUIRE) {
                answer_error(request, EACCES,
                             "this user may see the listener %s and not acquire it: see Access= in "
                             "its section",
                             listener->name);
                return false;
        }
        request->listener = listener;
        return true;
}

/* Of one name there may be both, and the peer may see one of them alone. */
static bool check_any(struct request *request) {
        const struct text *name = assignments_get(request->keys, "NAME");
        struct session *s = request->session;
        struct listener *listener = name ? find_listener(request, *name) : NULL;
        struct component *component = name ? request_component(request, *name) : NULL;

        if (!name)
                return true;
        if (listener && permission_to_see(s, listener))
                request->listener = listener;
        if (component && permission_to_see_component(s, component))
                request->component = component;
        if (request->listener || request->component)
                return true;
        answer_error(request, ENOENT,
                     "there is no listener and no component %.*s, or none that this user may know "
                     "of",
                     (int) name->length, name->start);
        return false;
}

static bool check_right(struct request *request) {
        switch (request->verb->right) {
        case RIGHT_ANYONE:
                return true;
        case RIGHT_SEE:
        case RIGHT_ACQUIRE:
                return check_listener(request);
        case RIGHT_SEE_ANY:
                return check_any(request);
        case RIGHT_STORE:
                if (permission_to_store(request->session))
                        return true;
                answer_error(request, EACCES,
                             "this user may not store: see StoreAccess= in [Broker]");
                return false;
        case RIGHT_OPERATE:
        case RIGHT_OPERATE_COMPONENT:
                break;
        case RIGHT_OWN:
                if (permission_is_privileged(request->session))
                        return true;
                answer_error(request, EACCES, "%s is for root and the broker's own user",
                             request->verb->name);
                return false;
        }
        if (permission_to_operate(request->session))
                return true;
        answer_error(request, EACCES,
                     "%s is for root, the broker's own user, and whom Operators= in [Broker] names",
                     request->verb->name);
        return false;
}

int verbs_dispatch(struct session *session, const char *data, size_t size, size_t n_fds) {
        struct assignments *keys = &session->control->assignments;
        struct request request = {.session = session, .keys = keys};
        int r = grammar_parse(data, size, keys);

        if (r < 0)
                return r;
        if (check_serial(&request) && check_session(&request) && check_verb(&request) &&
            check_fds(&request, n_fds) && check_keys(&request) && check_right(&request))
                request.verb->handle(&request);
        return 0;
}
