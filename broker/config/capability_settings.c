/* Reading and naming sets of capabilities (systemd.exec(5), capabilities(7)). */
#include <string.h>
#include <sys/capability.h>

#include "config/component_settings.h"
#include "config/setting_support.h"

struct reading {
        uint64_t set;
        bool failed;
};

static void add_name(const struct setting *s, const char *word, void *owner) {
        struct reading *reading = owner;
        cap_value_t capability;

        if (cap_from_name(word, &capability) == 0 && capability >= 0 && capability < 63) {
                reading->set |= UINT64_C(1) << capability;
                return;
        }
        reading->failed = true;
        setting_error(s, word, "there is no such capability: see capabilities(7)");
}

/*
 * As in systemd: further assignments add, or with '~' take away; the first one, an empty one and a
 * lone '~' say what the set is.
 */
static void read_set(const struct setting *s, const char *value, uint64_t *set, uint64_t initial) {
        bool invert = value[0] == '~';
        struct reading reading = {0};

        setting_each_word(s, value + invert, add_name, &reading);
        if (reading.failed)
                return;
        if (reading.set == 0 || *set == initial)
                *set = invert ? ~reading.set : reading.set;
        else if (invert)
                *set &= ~reading.set;
        else
                *set |= reading.set;
}

void setting_bounding_set(const struct setting *s, const char *value, void *member) {
        uint64_t *denied = member, set = ~*denied;

        read_set(s, value, &set, UINT64_MAX);
        *denied = ~set;
}

void setting_ambient_set(const struct setting *s, const char *value, void *member) {
        read_set(s, value, member, 0);
}
