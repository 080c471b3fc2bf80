/* The keys of sd_notify(3), as a table. See notify_packet.h for what is tolerated. */
#include "components/notify_packet.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "grammar.h"

/* Sets what the value says; false when it is none. */
typedef bool set_value(struct notify_packet *packet, unsigned flag, struct text value);

static bool set_one(struct notify_packet *packet, unsigned flag, struct text value) {
        /* Whoever says READY=0 says nothing: that is valid, and systemd takes it so. */
        if (text_equal(value, "1"))
                packet->flags |= flag;
        return true;
}

static bool set_watchdog(struct notify_packet *packet, unsigned flag, struct text value) {
        if (text_equal(value, "trigger"))
                packet->flags |= NOTIFY_TRIGGER;
        else if (text_equal(value, "1"))
                packet->flags |= NOTIFY_WATCHDOG;
        else
                return false;
        return true;
}

/* The most that fits, and not half of a UTF-8 character. */
static size_t length_that_fits(struct text value, size_t max) {
        size_t length = value.length;

        if (length <= max)
                return length;
        length = max;
        while (length > 0 && ((unsigned char) value.start[length] & 0xc0) == 0x80)
                length--;
        return length;
}

/* It goes to terminals and into the log. */
static bool set_status(struct notify_packet *packet, unsigned flag, struct text value) {
        size_t length = length_that_fits(value, sizeof(packet->status) - 1);

        for (size_t i = 0; i < length; i++) {
                unsigned char c = (unsigned char) value.start[i];

                packet->status[i] = c < ' ' || c == 0x7f ? '?' : (char) c;
        }
        packet->status[length] = '\0';
        packet->flags |= flag;
        return true;
}

static bool set_extend(struct notify_packet *packet, unsigned flag, struct text value) {
        if (text_to_u64(value, &packet->extend_usec) < 0)
                return false;
        packet->flags |= flag;
        return true;
}

static bool set_watchdog_usec(struct notify_packet *packet, unsigned flag, struct text value) {
        if (text_to_u64(value, &packet->watchdog_usec) < 0)
                return false;
        packet->flags |= flag;
        return true;
}

static bool to_int(struct text value, uint64_t min, uint64_t max, int *ret) {
        uint64_t number;

        if (text_to_u64(value, &number) < 0 || number < min || number > max)
                return false;
        *ret = (int) number;
        return true;
}

static bool set_main_pid(struct notify_packet *packet, unsigned flag, struct text value) {
        if (!to_int(value, 1, INT_MAX, &packet->main_pid))
                return false;
        packet->flags |= flag;
        return true;
}

static bool set_error(struct notify_packet *packet, unsigned flag, struct text value) {
        return to_int(value, 1, NOTIFY_ERROR_MAX, &packet->error);
}

static bool set_exit_status(struct notify_packet *packet, unsigned flag, struct text value) {
        if (!to_int(value, 0, NOTIFY_EXIT_STATUS_MAX, &packet->exit_status))
                return false;
        packet->flags |= flag;
        return true;
}

static bool set_fd_name(struct notify_packet *packet, unsigned flag, struct text value) {
        if (!name_is_valid(value.start, value.length))
                return false;
        memcpy(packet->fd_name, value.start, value.length);
        packet->fd_name[value.length] = '\0';
        return true;
}

static bool set_poll(struct notify_packet *packet, unsigned flag, struct text value) {
        if (text_equal(value, "0"))
                packet->flags |= flag;
        return text_equal(value, "0") || text_equal(value, "1");
}

static const struct key {
        const char *name;
        set_value *set;
        unsigned flag;
} keys[] = {
        {"READY", set_one, NOTIFY_READY},
        {"RELOADING", set_one, NOTIFY_RELOADING},
        {"WATCHDOG", set_watchdog, 0},
        {"STATUS", set_status, NOTIFY_HAS_STATUS},
        {"EXTEND_TIMEOUT_USEC", set_extend, NOTIFY_HAS_EXTEND},
        {"WATCHDOG_USEC", set_watchdog_usec, NOTIFY_HAS_WATCHDOG_USEC},
        {"MAINPID", set_main_pid, NOTIFY_HAS_MAIN_PID},
        {"FDSTORE", set_one, NOTIFY_STORE},
        {"FDSTOREREMOVE", set_one, NOTIFY_REMOVE},
        {"FDNAME", set_fd_name, 0},
        {"FDPOLL", set_poll, NOTIFY_UNPOLLED},
        {"ERRNO", set_error, 0},
        {"STOPPING", set_one, NOTIFY_STOPPING},
        {"EXIT_STATUS", set_exit_status, NOTIFY_HAS_EXIT_STATUS},
};

#define N_KEYS (sizeof(keys) / sizeof(keys[0]))

/* Its index, or N_KEYS. */
static size_t find_key(struct text name) {
        size_t i;

        for (i = 0; i < N_KEYS; i++)
                if (text_equal(name, keys[i].name))
                        break;
        return i;
}

/* False when the line has a known key and a value that is none. */
static bool parse_line(struct text line, bool seen[N_KEYS], struct notify_packet *ret) {
        const char *equals = memchr(line.start, '=', line.length);
        struct text name, value;
        size_t i;

        if (!equals)
                return true;
        name = (struct text){line.start, (size_t) (equals - line.start)};
        value = (struct text){equals + 1, line.length - name.length - 1};
        i = find_key(name);
        if (i == N_KEYS || seen[i])
                return true;
        seen[i] = true;
        return keys[i].set(ret, keys[i].flag, value);
}

int notify_packet_parse(const char *data, size_t size, struct notify_packet *ret,
                        const char **ret_ignored, size_t *ret_ignored_length) {
        bool seen[N_KEYS] = {false};

        if (size == 0 || memchr(data, '\0', size))
                return -EBADMSG;
        *ret_ignored = NULL;
        *ret_ignored_length = 0;
        *ret = (struct notify_packet){.fd_name = "stored"};
        for (const char *line = data, *end = data + size; line < end;) {
                const char *newline = memchr(line, '\n', (size_t) (end - line));
                size_t length = (size_t) ((newline ? newline : end) - line);

                if (!parse_line((struct text){line, length}, seen, ret) && !*ret_ignored) {
                        *ret_ignored = line;
                        *ret_ignored_length = length;
                }
                line += length + 1;
        }
        return 0;
}
