/*
 * The table of directives and what is asked of it. A directive that systemd has and fdpass does not
 * honour stands here too, so that it is refused by its name and never taken for a misspelling.
 */
#include "config/directives.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "config/component_settings.h"
#include "config/parts.h"
#include "config/suggestion.h"
#include "config/values.h"

#define UNIT_NAME_MAX 255 /* systemd.unit(5) */
#define SHOWN_MAX 120     /* bytes of a value in a message */

#define MEMBER(type, name)                                                                         \
        .offset = offsetof(struct type, name), .size = sizeof(((struct type *) 0)->name)
/* parse() knows what an empty value means */
#define MEMBER_WITH_RESET(type, name) .offset = offsetof(struct type, name)

#define BROKER(k, f, ...)                                                                          \
        { .key = (k), .group = GROUP_BROKER, .parse = (f), __VA_ARGS__ }
#define SOCKET(k, ...)                                                                             \
        { .key = (k), .group = GROUP_SOCKET, .parse = __VA_ARGS__ }
#define OWN(k, f, ...)                                                                             \
        { .key = (k), .group = GROUP_OWN, .parse = (f), __VA_ARGS__ }
#define OWN_LATER(k)                                                                               \
        {                                                                                          \
                .key = (k), .group = GROUP_OWN, .status = DIRECTIVE_LATER,                         \
                .in_unit_file = UNIT_FILE_ERROR                                                    \
        }
#define LATER(...)                                                                                 \
        { .group = GROUP_SOCKET, .status = DIRECTIVE_LATER, .key = __VA_ARGS__ }
#define UNSUPPORTED(...)                                                                           \
        { .group = GROUP_SOCKET, .status = DIRECTIVE_UNSUPPORTED, .key = __VA_ARGS__ }
#define NO_SOCKET                                                                                  \
        .in_unit_file = UNIT_FILE_ERROR, .is_listen = true, .why = "the socket would be missing"
#define MORE_OPEN .in_unit_file = UNIT_FILE_ERROR, .why = "without it more peers could connect"
#define FOR_PROCESSES .why = "fdpass runs no commands for a listener"

const struct directive directives[] = {
        BROKER("ControlSocket", setting_control_socket,
               MEMBER_WITH_RESET(broker_config, control_socket)),
        BROKER("Operators", setting_access, MEMBER_WITH_RESET(broker_config, operators)),
        BROKER("StoreAccess", setting_access, MEMBER_WITH_RESET(broker_config, store_access)),
        BROKER("OfferWaitSec", setting_seconds, MEMBER(broker_config, offer_wait_sec)),
        BROKER("LogLevel", setting_log_level, MEMBER_WITH_RESET(broker_config, log_level)),
        BROKER("StopComponents", setting_stop_components,
               MEMBER_WITH_RESET(broker_config, stop_components)),
        BROKER("ListenersMax", setting_limit, MEMBER(broker_config, limits.listeners)),
        BROKER("SessionsMax", setting_limit, MEMBER(broker_config, limits.sessions)),
        BROKER("SessionsPerUserMax", setting_limit,
               MEMBER(broker_config, limits.sessions_per_user)),
        BROKER("LeasesPerUserMax", setting_limit, MEMBER(broker_config, limits.leases_per_user)),
        BROKER("AnswersPerSessionMax", setting_limit,
               MEMBER(broker_config, limits.answers_per_session)),
        BROKER("DescriptorsInFlightPerSessionMax", setting_limit,
               MEMBER(broker_config, limits.fds_in_flight_per_session)),
        BROKER("DescriptorsInFlightMax", setting_limit,
               MEMBER(broker_config, limits.fds_in_flight)),
        BROKER("StoredMax", setting_limit, MEMBER(broker_config, limits.stored)),
        BROKER("StoredPerUserMax", setting_limit, MEMBER(broker_config, limits.stored_per_user)),
        BROKER("StoredBytesPerUserMax", setting_limit,
               MEMBER(broker_config, limits.stored_bytes_per_user)),

        OWN("Access", setting_access, MEMBER_WITH_RESET(socket_config, access)),
        OWN("Operators", setting_access, MEMBER_WITH_RESET(socket_config, operators)),
        OWN("NonBlocking", setting_bool, MEMBER(socket_config, non_blocking)),
        OWN_LATER("Activation"),
        OWN_LATER("Sharing"),
        OWN_LATER("Shards"),

        SOCKET("ListenStream", setting_listen_stream, MEMBER_WITH_RESET(socket_config, addresses)),
        SOCKET("BindIPv6Only", setting_ipv6_only, MEMBER(socket_config, ipv6_only)),
        SOCKET("Backlog", setting_unsigned, MEMBER(socket_config, backlog)),
        SOCKET("SocketUser", setting_socket_user, MEMBER_WITH_RESET(socket_config, socket_uid)),
        SOCKET("SocketGroup", setting_socket_group, MEMBER_WITH_RESET(socket_config, socket_gid)),
        SOCKET("SocketMode", setting_mode, MEMBER(socket_config, socket_mode)),
        SOCKET("DirectoryMode", setting_mode, MEMBER(socket_config, directory_mode)),
        SOCKET("FileDescriptorName", setting_fd_name, MEMBER_WITH_RESET(socket_config, fd_name)),
        SOCKET("Service", setting_service),
        SOCKET("TriggerLimitIntervalSec", setting_span,
               MEMBER(socket_config, trigger_limit_interval_usec)),
        SOCKET("TriggerLimitBurst", setting_unsigned, MEMBER(socket_config, trigger_limit_burst)),

        LATER("ListenDatagram", NO_SOCKET),
        LATER("ListenSequentialPacket", NO_SOCKET),
        LATER("BindToDevice", MORE_OPEN),
        LATER("RemoveOnStop", .off_is_fine = true),
        LATER("Symlinks"),
        LATER("ReusePort", .off_is_fine = true),
        LATER("KeepAlive", .off_is_fine = true),
        LATER("KeepAliveTimeSec"),
        LATER("KeepAliveIntervalSec"),
        LATER("KeepAliveProbes"),
        LATER("NoDelay", .off_is_fine = true),
        LATER("DeferAcceptSec"),
        LATER("FreeBind", .off_is_fine = true),
        LATER("Transparent", .off_is_fine = true),
        LATER("Broadcast", .off_is_fine = true),
        LATER("PassCredentials", .off_is_fine = true),
        LATER("ReceiveBuffer"),
        LATER("SendBuffer"),
        LATER("IPTOS"),
        LATER("IPTTL"),
        LATER("Mark"),
        LATER("TCPCongestion"),
        LATER("Priority"),

        UNSUPPORTED("ListenFIFO", NO_SOCKET),
        UNSUPPORTED("ListenSpecial", NO_SOCKET),
        UNSUPPORTED("ListenNetlink", NO_SOCKET),
        UNSUPPORTED("ListenMessageQueue", NO_SOCKET),
        UNSUPPORTED("ListenUSBFunction", NO_SOCKET),
        UNSUPPORTED("SocketProtocol", .in_unit_file = UNIT_FILE_ERROR,
                    .why = "it would be another kind of socket"),
        UNSUPPORTED("Accept", .in_unit_file = UNIT_FILE_ERROR, .off_is_fine = true,
                    .why = "fdpass lends listening sockets and accepts connections for nobody"),
        UNSUPPORTED("Writable", .off_is_fine = true),
        UNSUPPORTED("FlushPending", .off_is_fine = true,
                    .why = "connections that wait are kept for the next program"),
        UNSUPPORTED("MaxConnections", .why = "it is for Accept=yes"),
        UNSUPPORTED("MaxConnectionsPerSource", .why = "it is for Accept=yes"),
        UNSUPPORTED("PassSecurity", .off_is_fine = true),
        UNSUPPORTED("PassPacketInfo", .off_is_fine = true),
        UNSUPPORTED("PassFileDescriptorsToExec", .off_is_fine = true),
        UNSUPPORTED("PassPIDFD", .off_is_fine = true),
        UNSUPPORTED("AcceptFileDescriptors"),
        UNSUPPORTED("Timestamping"),
        UNSUPPORTED("PipeSize"),
        UNSUPPORTED("MessageQueueMaxMessages"),
        UNSUPPORTED("MessageQueueMessageSize"),
        UNSUPPORTED("PollLimitIntervalSec", .in_unit_file = UNIT_FILE_SILENT),
        UNSUPPORTED("PollLimitBurst", .in_unit_file = UNIT_FILE_SILENT),
        UNSUPPORTED("DeferTrigger", .in_unit_file = UNIT_FILE_SILENT),
        UNSUPPORTED("DeferTriggerMaxSec", .in_unit_file = UNIT_FILE_SILENT),
        UNSUPPORTED("SmackLabel"),
        UNSUPPORTED("SmackLabelIPIn"),
        UNSUPPORTED("SmackLabelIPOut"),
        UNSUPPORTED("SELinuxContextFromNet", .off_is_fine = true),
        UNSUPPORTED("ExecStartPre", FOR_PROCESSES),
        UNSUPPORTED("ExecStartPost", FOR_PROCESSES),
        UNSUPPORTED("ExecStopPre", FOR_PROCESSES),
        UNSUPPORTED("ExecStopPost", FOR_PROCESSES),
        UNSUPPORTED("TimeoutSec", FOR_PROCESSES),
        UNSUPPORTED("IPAddressAllow", MORE_OPEN),
        UNSUPPORTED("IPAddressDeny", MORE_OPEN),
        UNSUPPORTED("IPIngressFilterPath", MORE_OPEN),
        UNSUPPORTED("RestrictNetworkInterfaces", MORE_OPEN),
        {0},
};

static const struct directive *const tables[] = {directives, component_directives};

const struct directive *directive_find(const char *key, unsigned groups) {
        for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
                for (const struct directive *d = tables[i]; d->key; d++)
                        if ((d->group & groups) && d->key[0] == key[0] && strcmp(d->key, key) == 0)
                                return d;
        return NULL;
}

const char *directive_suggest(const char *key, unsigned groups) {
        const char *best = NULL;

        for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
                for (const struct directive *d = tables[i]; d->key; d++)
                        if ((d->group & groups) && d->status == DIRECTIVE_HONOURED)
                                best = suggestion_better(key, best, d->key);
        return best;
}

/* "shutdown.target umount.target" */
static bool names_only_other_units(const char *value) {
        char word[UNIT_NAME_MAX + 1];
        size_t length;

        for (const char *p = value + strspn(value, " \t"); *p; p += strspn(p, " \t")) {
                length = strcspn(p, " \t");
                if (length > UNIT_NAME_MAX)
                        return false;
                *(char *) mempcpy(word, p, length) = '\0';
                if (!unit_is_of_other_kind(word))
                        return false;
                p += length;
        }
        return true;
}

bool directive_value_is_off(const struct directive *d, const char *value) {
        bool on = true;

        if (d->off_is_fine && value_to_bool(value, &on) == 0 && !on)
                return true;
        if (!*value)
                return d->in_unit_file == UNIT_FILE_SANDBOX;
        return (d->off && strcmp(value, d->off) == 0) ||
               (d->names_units && names_only_other_units(value));
}

/* The configuration that the directive is about, and what it has by default. */
static char *base_of(const struct setting *s, const char **ret_defaults) {
        if (s->component) {
                struct component_config *c = s->component->config;

                *ret_defaults = (const char *) component_config_defaults(c->is_unit_file);
                return (char *) c;
        }
        if (s->socket) {
                *ret_defaults = (const char *) &socket_config_defaults;
                return (char *) &s->socket->config;
        }
        *ret_defaults = (const char *) &s->draft->broker_defaults;
        return (char *) &s->draft->broker;
}

void setting_apply(const struct setting *s, const char *value) {
        const struct directive *d = s->directive;
        const char *defaults;
        char *base = base_of(s, &defaults);

        if (!*value && d->size > 0)
                memcpy(base + d->offset, defaults + d->offset, d->size);
        else
                d->parse(s, value, base + d->offset);
}

void setting_error(const struct setting *s, const char *value, const char *format, ...) {
        _cleanup_free_ char *reason = NULL;
        va_list arguments;
        int r;

        va_start(arguments, format);
        r = vasprintf(&reason, format, arguments);
        va_end(arguments);
        if (r < 0) {
                reason = NULL;
                s->draft->out_of_memory = true;
                return;
        }
        diagnostics_add(s->draft->diagnostics, SEVERITY_ERROR, s->place.file, s->place.line,
                        "%s=%.*s%s: %s", s->directive->key, SHOWN_MAX, value,
                        strlen(value) > SHOWN_MAX ? "..." : "", reason);
}
