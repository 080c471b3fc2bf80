/*
 * The resolved configuration in its own syntax. What is printed is complete (defaults included) and
 * loads to the same configuration: paths and names may hold '%', which is doubled, and long lists
 * are cut into several assignments so that no line is too long to read.
 */
#include "config/print.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#include "config/choices.h"
#include "config/config.h"
#include "config/time_span.h"

#define IDS_A_LINE 64

void print_percent(FILE *f, const char *text) {
        for (; *text; text++) {
                if (*text == '%')
                        fputc('%', f);
                fputc(*text, f);
        }
}

void print_text(FILE *f, const char *key, const char *text) {
        fprintf(f, "%s=", key);
        print_percent(f, text);
        fputc('\n', f);
}

void print_ids(FILE *f, const char *key, const char *prefix, const unsigned *ids, size_t n) {
        for (size_t i = 0; i < n; i++) {
                if (i % IDS_A_LINE == 0)
                        fprintf(f, "%s%s=", i > 0 ? "\n" : "", key);
                fprintf(f, "%s%s%u", i % IDS_A_LINE == 0 ? "" : " ", prefix, ids[i]);
        }
        if (n > 0)
                fputc('\n', f);
}

static void print_access(FILE *f, const char *key, const struct access_list *list) {
        print_ids(f, key, "", list->users, list->n_users);
        print_ids(f, key, "@", list->groups, list->n_groups);
        if (list->n_users + list->n_groups == 0)
                fprintf(f, "%s=\n", key);
}

static void print_broker(FILE *f, const struct broker_config *b) {
        const struct limits *l = &b->limits;

        fprintf(f, "[Broker]\n");
        print_text(f, "ControlSocket", b->control_socket ? b->control_socket : "");
        print_access(f, "Operators", &b->operators);
        print_access(f, "StoreAccess", &b->store_access);
        fprintf(f, "OfferWaitSec=%u\n", b->offer_wait_sec);
        fprintf(f, "LogLevel=%s\n", b->has_log_level ? log_level_name(b->log_level) : "");
        fprintf(f, "StopComponents=%s\n",
                !b->has_stop_components ? ""
                : b->stop_components    ? "yes"
                                        : "no");
        fprintf(f, "ListenersMax=%u\n", l->listeners);
        fprintf(f, "SessionsMax=%u\n", l->sessions);
        fprintf(f, "SessionsPerUserMax=%u\n", l->sessions_per_user);
        fprintf(f, "LeasesPerUserMax=%u\n", l->leases_per_user);
        fprintf(f, "AnswersPerSessionMax=%u\n", l->answers_per_session);
        fprintf(f, "DescriptorsInFlightPerSessionMax=%u\n", l->fds_in_flight_per_session);
        fprintf(f, "DescriptorsInFlightMax=%u\n", l->fds_in_flight);
        fprintf(f, "StoredMax=%u\n", l->stored);
        fprintf(f, "StoredPerUserMax=%u\n", l->stored_per_user);
        fprintf(f, "StoredBytesPerUserMax=%u\n", l->stored_bytes_per_user);
}

static void print_owner(FILE *f, const char *key, bool has, unsigned id) {
        if (has)
                fprintf(f, "%s=%u\n", key, id);
        else
                fprintf(f, "%s=\n", key);
}

static void print_socket(FILE *f, const struct socket_config *s) {
        char address[ADDRESS_TEXT_SIZE], span[TIME_SPAN_TEXT_SIZE];

        fprintf(f, "\n# %s:%u\n[Socket %s]\n", s->file, s->line, s->name);
        for (size_t i = 0; i < s->n_addresses; i++)
                print_text(f, "ListenStream", address_text(s->addresses[i], address));
        fprintf(f, "BindIPv6Only=%s\n", ipv6_only_words[s->ipv6_only]);
        fprintf(f, "Backlog=%u\n", s->backlog);
        print_owner(f, "SocketUser", s->has_socket_user, s->socket_uid);
        print_owner(f, "SocketGroup", s->has_socket_group, s->socket_gid);
        fprintf(f, "SocketMode=%04o\n", s->socket_mode);
        fprintf(f, "DirectoryMode=%04o\n", s->directory_mode);
        fprintf(f, "NonBlocking=%s\n", s->non_blocking ? "yes" : "no");
        print_text(f, "FileDescriptorName", s->fd_name);
        fprintf(f, "TriggerLimitIntervalSec=%s\n",
                time_span_text(s->trigger_limit_interval_usec, span));
        fprintf(f, "TriggerLimitBurst=%u\n", s->trigger_limit_burst);
        print_access(f, "Access", &s->access);
        print_access(f, "Operators", &s->operators);
}

int config_print(const struct config *config, FILE *stream) {
        print_broker(stream, &config->broker);
        for (size_t i = 0; i < config->n_sockets; i++)
                print_socket(stream, config->sockets[i]);
        for (size_t i = 0; i < config->n_components; i++)
                print_component(stream, config->components[i]);
        return fflush(stream) != 0 || ferror(stream) ? -EIO : 0;
}
