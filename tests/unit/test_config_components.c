/* Components of a configuration: which files make them, what is resolved when all is read. */
#include "support.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config/component_config.h"
#include "config/config.h"
#include "config/load.h"
#include "config/signal_name.h"
#include "config/time_span.h"
#include "config/values.h"

static struct diagnostics diagnostics;
static struct config *config;

static int load(void) {
        diagnostics_clear(&diagnostics);
        config = config_free(config);
        return config_load(test_folder(), &diagnostics, &config);
}

static void assert_loads(size_t components) {
        int r = load();

        ck_assert_msg(r == 0, "%s",
                      diagnostics.count > 0 ? diagnostics.items[0].text : "no message");
        ck_assert_uint_eq(config->n_components, components);
}

static bool is_said(enum severity severity, const char *text) {
        for (size_t i = 0; i < diagnostics.count; i++)
                if (diagnostics.items[i].severity == severity &&
                    strstr(diagnostics.items[i].text, text))
                        return true;
        diagnostics_print(&diagnostics, stderr);
        return false;
}

static void done(void) {
        diagnostics_clear(&diagnostics);
        config = config_free(config);
}

static struct component_config *component(const char *name) {
        struct component_config *c = config_find_component(config, name);

        ck_assert_msg(c, "there is no component %s", name);
        return c;
}

/* "web api" */
static const char *listeners_of(const char *name) {
        static char text[256];
        const struct component_config *c = component(name);

        text[0] = '\0';
        for (size_t i = 0; i < c->n_sockets; i++)
                snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i > 0 ? " " : "",
                         c->sockets[i]);
        return text;
}

START_TEST(service_files_are_components) {
        test_write("hermes.service", "[Service]\nExecStart=/bin/one\nEnvironment=A=1\n");
        test_write("hermes.service.d/a.conf", "[Service]\nExecStart=\nExecStart=/bin/two\n");
        test_write("hermes.service.d/b.conf", "[X-Fdpass]\nInstances=3\n");
        test_write("agent@.service", "[Service]\nExecStart=/bin/agent %i %n\n");
        test_write("agent@.service.d/x.conf", "[Service]\nUMask=0077\n");
        ck_assert_int_eq(symlink("agent@.service", test_path("agent@7.service")), 0);
        ck_assert_int_eq(symlink("/dev/null", test_path("masked.service")), 0);
        test_write("fdpass.conf", "[Component engram]\nExecStart=engram\n");
        assert_loads(3);
        ck_assert(is_said(SEVERITY_WARNING, "template"));
        ck_assert_str_eq(config->components[0]->name, "agent@7");
        ck_assert_str_eq(component("agent@7")->start.arguments[1], "7");
        ck_assert_str_eq(component("agent@7")->start.arguments[2], "agent@7.service");
        ck_assert_uint_eq(component("agent@7")->umask, 0077);
        ck_assert_str_eq(component("hermes")->start.path, "/bin/two");
        ck_assert_uint_eq(component("hermes")->instances, 3);
        ck_assert_str_eq(component("hermes")->environment[0], "A=1");
        ck_assert_str_eq(component("hermes")->file, test_path("hermes.service"));
        ck_assert_ptr_null(config_find_component(config, "masked"));
        done();
}
END_TEST

START_TEST(the_two_kinds_have_their_own_defaults) {
        const struct component_config *unit, *own;

        test_write("unit.service", "[Service]\nExecStart=/bin/true\n");
        test_write("fdpass.conf", "[Component own]\nExecStart=/bin/true\n");
        assert_loads(2);
        unit = component("unit");
        own = component("own");
        ck_assert_int_eq(unit->type, COMPONENT_SIMPLE);
        ck_assert_int_eq(own->type, COMPONENT_EXEC);
        ck_assert_int_eq(unit->handover, HANDOVER_STOP_FIRST);
        ck_assert_int_eq(own->handover, HANDOVER_OVERLAP);
        ck_assert_uint_eq(unit->timeout_start_usec, 90000000);
        ck_assert_uint_eq(own->timeout_start_usec, 30000000);
        ck_assert_uint_eq(own->timeout_stop_usec, 10000000);
        ck_assert_uint_eq(unit->restart, 0);
        ck_assert_uint_eq(own->restart, RESTART_ON_EXIT | RESTART_ON_SIGNAL | RESTART_ON_TIMEOUT |
                                                RESTART_ON_WATCHDOG);
        ck_assert_uint_eq(unit->start_limit_interval_usec, 10000000);
        ck_assert_uint_eq(unit->restart_usec, 100000);
        done();
}
END_TEST

START_TEST(a_name_is_a_component_once) {
        test_write("hermes.service", "[Service]\nExecStart=/bin/true\n");
        test_write("fdpass.conf", "[Component hermes]\nExecStart=/bin/true\n");
        ck_assert_int_eq(load(), -EINVAL);
        ck_assert(is_said(SEVERITY_ERROR, "a component called hermes"));
        done();
}
END_TEST

START_TEST(listeners_come_from_both_sides) {
        test_write("hermes.socket", "[Socket]\nListenStream=1\n");
        test_write("fdpass.conf", "[Socket zeta]\nListenStream=2\nService=hermes.service\n"
                                  "[Socket alpha]\nListenStream=3\nService=hermes\n"
                                  "[Component own]\nExecStart=/bin/x\n");
        test_write("hermes.service", "[Service]\nExecStart=/bin/x\n");
        test_write("engram.socket", "[Socket]\nListenStream=4\nService=mint.service\n");
        test_write("engram.service", "[Service]\nExecStart=/bin/x\n");
        test_write("mint.socket", "[Socket]\nListenStream=5\n");
        test_write("mint.service", "[Service]\nExecStart=/bin/x\nSockets=zeta.socket\n");
        test_write("own.socket", "[Socket]\nListenStream=6\n");
        assert_loads(4);
        ck_assert_str_eq(listeners_of("hermes"), "hermes alpha zeta");
        ck_assert_str_eq(listeners_of("engram"), ""); /* its Service= is another */
        ck_assert_str_eq(listeners_of("mint"), "zeta engram");
        ck_assert_str_eq(listeners_of("own"), ""); /* fdpass.conf says what it means */
        ck_assert(is_said(SEVERITY_WARNING, "listener zeta is served by component"));
        done();
}
END_TEST

START_TEST(numbers_of_listeners_are_put_in) {
        test_write("fdpass.conf",
                   "[Socket a]\nListenStream=/run/a.sock\nListenStream=81\n"
                   "[Socket b]\nListenStream=82\nListenStream=83\n"
                   "[Component x]\nExecStart=/bin/x %{fd:a} %{fd:b}%{port:b} %%{fd:b}\n"
                   "HealthCheck=exec:/bin/y %{port:a}\nEnvironment=P=%{port:b}\nSockets=a b\n");
        assert_loads(1);
        ck_assert_str_eq(component("x")->start.arguments[1], "3");
        ck_assert_str_eq(component("x")->start.arguments[2], "582");
        ck_assert_str_eq(component("x")->start.arguments[3], "%{fd:b}");
        ck_assert_str_eq(component("x")->health.command.arguments[1], "81");
        ck_assert_str_eq(component("x")->environment[0], "P=82");
        done();
}
END_TEST

START_TEST(the_strictest_trigger_limit_counts) {
        test_write("fdpass.conf",
                   "[Socket a]\nListenStream=81\n"
                   "[Socket b]\nListenStream=82\nTriggerLimitIntervalSec=60\nTriggerLimitBurst=9\n"
                   "[Socket c]\nListenStream=83\nTriggerLimitIntervalSec=0\n"
                   "[Socket d]\nListenStream=84\nTriggerLimitBurst=0\n"
                   "[Component x]\nExecStart=/bin/x\nSockets=c a b d\n"
                   "[Component y]\nExecStart=/bin/x\nSockets=c\n");
        assert_loads(2);
        ck_assert_uint_eq(component("x")->trigger_limit_burst, 9);
        ck_assert_uint_eq(component("x")->trigger_limit_interval_usec, 60000000);
        ck_assert_uint_eq(component("y")->trigger_limit_interval_usec, 0);
        done();
}
END_TEST

START_TEST(a_name_that_is_nearly_that_of_a_component_is_told) {
        (void) test_write("fdpass.conf", "[Component engram]\nExecStart=/bin/true\n"
                                         "[Component hermes]\nExecStart=/bin/true\nAfter=engramm\n"
                                         "Before=absent x\n"
                                         "[Component y]\nExecStart=/bin/true\n");
        assert_loads(3);
        ck_assert_uint_eq(diagnostics.count, 1);
        ck_assert(
                is_said(SEVERITY_WARNING,
                        "there is no component engramm, and it is ignored; did you mean engram?"));
        done();
}
END_TEST

START_TEST(an_order_in_a_circle_is_told) {
        test_write("fdpass.conf", "[Component a]\nExecStart=x\nAfter=b\n"
                                  "[Component b]\nExecStart=x\nBefore=z\nAfter=c\n"
                                  "[Component c]\nExecStart=x\nRequires=a\n"
                                  "[Component z]\nExecStart=x\n");
        assert_loads(4); /* who requires is not ordered by that */
        ck_assert_uint_eq(component("z")->n_after, 1);
        ck_assert_str_eq(component("z")->after[0], "b");
        test_write("fdpass.conf.d/x.conf", "[Component c]\nAfter=z\n");
        ck_assert_int_eq(load(), -EINVAL);
        ck_assert(is_said(SEVERITY_ERROR, "z before c before b before z"));
        done();
}
END_TEST

/* Each after the one before it, the last after the first or not. */
static void write_chain(unsigned n, bool is_closed) {
        char *text;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        for (unsigned i = 0; i < n; i++)
                fprintf(f, "[Component c%u]\nExecStart=x\nAfter=c%u\n", i,
                        i == 0 && !is_closed ? 0 : (i + n - 1) % n);
        fclose(f);
        test_write("fdpass.conf", text);
        free(text);
}

START_TEST(ten_thousand_components_are_ordered_at_once) {
        struct timespec begin, end;

        write_chain(10000, true);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
        ck_assert_int_eq(load(), -EINVAL);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
        ck_assert(is_said(SEVERITY_ERROR, "goes in a circle"));
        ck_assert_int_lt(end.tv_sec - begin.tv_sec, 10);
        done();
}
END_TEST

START_TEST(a_user_brings_group_home_and_shell) {
        const struct component_config *c;

        test_write("fdpass.conf", "[Component a]\nExecStart=x\nUser=root\nWorkingDirectory=~\n"
                                  "[Component b]\nExecStart=x\nUser=3999999999\nGroup=8\n"
                                  "SupplementaryGroups=9 7 9\n"
                                  "[Component c]\nExecStart=x\nGroup=5\n"
                                  "[Component d]\nExecStart=x\n");
        assert_loads(4);
        c = component("a");
        ck_assert(c->has_user);
        ck_assert_str_eq(c->user, "root");
        ck_assert_uint_eq(c->uid, 0);
        ck_assert_uint_eq(c->gid, 0);
        ck_assert_ptr_nonnull(c->shell);
        ck_assert_str_eq(c->working_directory, c->home);
        c = component("b");
        ck_assert_str_eq(c->user, "3999999999");
        ck_assert_uint_eq(c->uid, 3999999999);
        ck_assert_ptr_null(c->home);
        ck_assert_uint_eq(c->n_groups, 3);
        ck_assert_uint_eq(c->groups[0], 7);
        ck_assert_uint_eq(c->groups[2], 9);
        c = component("c");
        ck_assert(c->has_user);
        ck_assert_ptr_null(c->user);
        ck_assert_uint_eq(c->uid, geteuid());
        ck_assert_uint_eq(c->gid, 5);
        ck_assert(!component("d")->has_user);
        done();
}
END_TEST

/* capabilities(7): CHOWN is 0, DAC_OVERRIDE 1, NET_BIND_SERVICE 10; as systemd merges them */
START_TEST(sets_of_capabilities_are_merged_as_in_systemd) {
        static const struct {
                const char *text;
                uint64_t bounding, ambient;
        } rows[] = {
                {"", UINT64_MAX, 0},
                {"CapabilityBoundingSet=CAP_CHOWN cap_net_bind_service", 0x401, 0},
                {"CapabilityBoundingSet=CAP_CHOWN\nCapabilityBoundingSet=CAP_DAC_OVERRIDE", 3, 0},
                {"CapabilityBoundingSet=~CAP_CHOWN", ~UINT64_C(1), 0},
                {"CapabilityBoundingSet=~CAP_CHOWN\nCapabilityBoundingSet=~CAP_DAC_OVERRIDE",
                 ~UINT64_C(3), 0},
                {"CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE\n"
                 "CapabilityBoundingSet=~CAP_CHOWN",
                 2, 0},
                {"CapabilityBoundingSet=", 0, 0},
                {"CapabilityBoundingSet=CAP_CHOWN\nCapabilityBoundingSet=", 0, 0},
                {"CapabilityBoundingSet=CAP_CHOWN\nCapabilityBoundingSet=~", UINT64_MAX, 0},
                {"AmbientCapabilities=CAP_NET_BIND_SERVICE", UINT64_MAX, 0x400},
                {"AmbientCapabilities=CAP_CHOWN\nAmbientCapabilities=CAP_DAC_OVERRIDE", UINT64_MAX,
                 3},
                {"AmbientCapabilities=CAP_CHOWN\nAmbientCapabilities=", UINT64_MAX, 0},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char text[256];

                snprintf(text, sizeof(text), "[Component a]\nExecStart=x\n%s\n", rows[i].text);
                test_write("fdpass.conf", text);
                assert_loads(1);
                ck_assert_msg(~component("a")->denied_set == rows[i].bounding, "%s", rows[i].text);
                ck_assert_msg(component("a")->ambient_set == rows[i].ambient, "%s", rows[i].text);
        }
        test_write("fdpass.conf", "[Component a]\nExecStart=x\nAmbientCapabilities=CAP_FLY\n");
        ck_assert_int_eq(load(), -EINVAL);
        ck_assert(is_said(SEVERITY_ERROR, "there is no such capability"));
        done();
}
END_TEST

START_TEST(sandboxing_does_not_fail_open) {
        test_write("a.service", "[Service]\nExecStart=/bin/x\nProtectSystem=strict\n");
        ck_assert_int_eq(load(), -EINVAL);
        ck_assert(is_said(SEVERITY_ERROR, "IgnoreSandboxing=yes in [X-Fdpass]"));
        test_write("a.service.d/x.conf", "[X-Fdpass]\nIgnoreSandboxing=yes\n");
        assert_loads(1);
        ck_assert_uint_eq(diagnostics.warnings, 1);
        test_write("a.service.d/x.conf", "[Service]\nProtectSystem=no\n");
        assert_loads(1);
        ck_assert_uint_eq(diagnostics.count, 0);
        test_write("fdpass.conf", "[Component b]\nExecStart=x\nPrivateTmp=yes\n");
        ck_assert_int_eq(load(), -EINVAL);
        ck_assert(is_said(SEVERITY_ERROR, "IgnoreSandboxing=yes in [Component b]"));
        done();
}
END_TEST

START_TEST(restart_is_systemds_table) {
        static const struct {
                const char *text;
                unsigned bits;
        } rows[] = {
                {"no", 0},
                {"always", 31},
                {"on-success", RESTART_ON_SUCCESS},
                {"on-failure", 30},
                {"on-abnormal", RESTART_ON_SIGNAL | RESTART_ON_TIMEOUT | RESTART_ON_WATCHDOG},
                {"on-abort", RESTART_ON_SIGNAL},
                {"on-watchdog", RESTART_ON_WATCHDOG},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char text[128];

                snprintf(text, sizeof(text), "[Component a]\nExecStart=x\nRestart=%s\n",
                         rows[i].text);
                test_write("fdpass.conf", text);
                assert_loads(1);
                ck_assert_msg(component("a")->restart == rows[i].bits, "%s", rows[i].text);
        }
        done();
}
END_TEST

START_TEST(a_reference_outlives_the_configuration) {
        struct component_config *kept;

        test_write("fdpass.conf", "[Component a]\nExecStart=x\n");
        assert_loads(1);
        kept = component_config_ref(component("a"));
        config = config_free(config);
        ck_assert_str_eq(kept->name, "a");
        ck_assert_ptr_null(component_config_unref(kept));
        ck_assert_ptr_null(component_config_unref(NULL));
        done();
}
END_TEST

START_TEST(equality_is_about_how_it_is_run) {
        static const char *const others[] = {
                "ExecStart=\nExecStart=y",
                "ExecStart=\nExecStart=x 1",
                "ExecStart=\nExecStart=-x",
                "ExecStartPre=y",
                "ExecReload=y",
                "Environment=A=2",
                "EnvironmentFile=/x",
                "PassEnvironment=A",
                "UnsetEnvironment=A",
                "UnsetEnvironment=A=1",
                "RuntimeDirectory=x",
                "ConfigurationDirectory=x",
                "CacheDirectoryMode=0700",
                "RuntimeDirectoryPreserve=restart",
                "Group=5",
                "CapabilityBoundingSet=CAP_CHOWN",
                "AmbientCapabilities=CAP_CHOWN",
                "NoNewPrivileges=yes",
                "UMask=0",
                "LimitCORE=0",
                "Nice=1",
                "OOMScoreAdjust=1",
                "WorkingDirectory=/x",
                "StandardOutput=null",
                "StandardError=null",
                "Type=notify",
                "Type=simple",
                "NotifyAccess=all",
                "TimeoutStartSec=1",
                "TimeoutStopSec=1",
                "WatchdogSec=1",
                "KillMode=process",
                "KillSignal=INT",
                "RestartKillSignal=INT",
                "FinalKillSignal=INT",
                "WatchdogSignal=INT",
                "SendSIGKILL=no",
                "SendSIGHUP=yes",
                "Restart=no",
                "RestartSec=1",
                "RestartSteps=2",
                "RestartMaxDelaySec=1h",
                "StartLimitIntervalSec=1",
                "StartLimitBurst=1",
                "SuccessExitStatus=1",
                "SuccessExitStatus=SIGUSR1",
                "RestartPreventExitStatus=1",
                "RestartForceExitStatus=1",
                "RestartForceExitStatus=SIGRTMAX",
                "FileDescriptorStoreMax=1",
                "NonBlocking=yes",
                "Instances=2",
                "Handover=stop-first",
                "HealthCheck=tcp",
                "HealthCheckSocket=web",
                "HealthCheckIntervalSec=1",
                "HealthCheckTimeoutSec=1",
                "HealthCheckFailures=1",
                "Start=manual",
                "Start=on-demand",
                "StallSec=1",
                "StallAction=restart",
                "Description=x",
                "After=b",
                "Requires=b",
                "Wants=b",
                "PartOf=b",
                "ConditionPathExists=/x",
                "AssertUser=!root",
                "Sockets=",
                "Sockets=api",
        };
        struct component_config *first;

        setenv("XDG_RUNTIME_DIR", "/run/user/1", 1); /* there are users without one */
        setenv("XDG_CONFIG_HOME", "/home/x/.config", 1);
        test_write("fdpass.conf", "[Socket web]\nListenStream=81\n[Socket api]\nListenStream=82\n"
                                  "[Component b]\nExecStart=x\n"
                                  "[Component a]\nExecStart=x\nEnvironment=A=1\nSockets=web\n");
        assert_loads(2);
        first = component_config_ref(component("a"));
        assert_loads(2);
        ck_assert(component_config_equal(first, component("a")));
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
                char text[128];

                snprintf(text, sizeof(text), "[Component a]\n%s\n", others[i]);
                test_write("fdpass.conf.d/x.conf", text);
                assert_loads(2);
                ck_assert_msg(!component_config_equal(first, component("a")), "%s", others[i]);
        }
        component_config_unref(first);
        done();
}
END_TEST

START_TEST(a_reload_signal_makes_a_difference) {
        struct component_config *first;

        test_write("fdpass.conf", "[Component a]\nExecStart=x\nType=notify-reload\n");
        assert_loads(1);
        first = component_config_ref(component("a"));
        ck_assert_int_eq(first->type, COMPONENT_NOTIFY);
        ck_assert_int_eq(first->reload_signal, SIGHUP);
        test_write("fdpass.conf", "[Component a]\nExecStart=x\nReloadSignal=USR1\nType=notify\n");
        assert_loads(1);
        ck_assert_int_eq(component("a")->reload_signal, 0);
        ck_assert(!component_config_equal(first, component("a")));
        component_config_unref(first);
        done();
}
END_TEST

/* ---- values ---- */

START_TEST(times_are_read_exactly) {
        static const struct {
                const char *text;
                uint64_t usec;
                const char *printed;
        } rows[] = {
                {"5", 5000000, "5s"},
                {"0", 0, "0s"},
                {"500ms", 500000, "500ms"},
                {"1min 20s", 80000000, "80s"},
                {"1min20s", 80000000, "80s"},
                {"1.5h", 5400000000, "5400s"},
                {"0.1", 100000, "100ms"},
                {"7us", 7, "7us"},
                {"2 weeks", 1209600000000, "1209600s"},
                {"infinity", USEC_INFINITY, "infinity"},
        };
        static const char *const wrong[] = {"",  "x", "5x",         "-5",         "5.",
                                            ".", "s", "5 infinity", "infinity 5", "1..5"};
        uint64_t usec;
        char text[TIME_SPAN_TEXT_SIZE];

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                ck_assert_msg(time_span_parse(rows[i].text, 1000000, &usec) == 0, "%s",
                              rows[i].text);
                ck_assert_uint_eq(usec, rows[i].usec);
                ck_assert_str_eq(time_span_text(usec, text), rows[i].printed);
        }
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
                ck_assert_msg(time_span_parse(wrong[i], 1000000, &usec) == -EINVAL, "%s", wrong[i]);
        ck_assert_int_eq(time_span_parse("18446744073709551615us", 1, &usec), -ERANGE);
        ck_assert_int_eq(time_span_parse("600000y", 1, &usec), -ERANGE);
        ck_assert_int_eq(time_span_parse("18446744073709551614us", 1, &usec), 0);
}
END_TEST

START_TEST(signals_have_names) {
        char text[SIGNAL_NAME_SIZE];
        int number;

        ck_assert_int_eq(signal_from_name("SIGTERM", &number), 0);
        ck_assert_int_eq(number, SIGTERM);
        ck_assert_int_eq(signal_from_name("9", &number), 0);
        ck_assert_int_eq(number, 9);
        ck_assert_int_eq(signal_from_name("RTMIN+1", &number), 0);
        ck_assert_int_eq(number, SIGRTMIN + 1);
        ck_assert_str_eq(signal_name(number, text), "SIGRTMIN+1");
        ck_assert_int_eq(signal_from_name("SIGRTMAX-1", &number), 0);
        ck_assert_int_eq(number, SIGRTMAX - 1);
        ck_assert_int_eq(signal_from_name("SIG", &number), -EINVAL);
        ck_assert_int_eq(signal_from_name("RTMIN-1", &number), -EINVAL);
        ck_assert_int_eq(signal_from_name("RTMIN+99", &number), -EINVAL);
        ck_assert_int_eq(signal_from_name("0", &number), -EINVAL);
        ck_assert_int_eq(signal_from_name("65", &number), -EINVAL);
}
END_TEST

START_TEST(arguments_may_have_quotes_inside) {
        const char *cursor = "--a=\"b c\"'d' \\q";
        char *word;

        ck_assert_int_eq(value_next_argument(&cursor, false, &word), 1);
        ck_assert_str_eq(word, "--a=b cd");
        free(word);
        ck_assert_int_eq(value_next_argument(&cursor, false, &word), -EINVAL);
        ck_assert_int_eq(value_next_argument(&cursor, true, &word), 1);
        ck_assert_str_eq(word, "\\q");
        free(word);
        ck_assert_int_eq(value_next_argument(&cursor, true, &word), 0);
}
END_TEST

SUITE("config components", {
        TEST(service_files_are_components);
        TEST(the_two_kinds_have_their_own_defaults);
        TEST(a_name_is_a_component_once);
        TEST(listeners_come_from_both_sides);
        TEST(numbers_of_listeners_are_put_in);
        TEST(the_strictest_trigger_limit_counts);
        TEST(a_name_that_is_nearly_that_of_a_component_is_told);
        TEST(an_order_in_a_circle_is_told);
        TEST(ten_thousand_components_are_ordered_at_once);
        TEST(a_user_brings_group_home_and_shell);
        TEST(sets_of_capabilities_are_merged_as_in_systemd);
        TEST(sandboxing_does_not_fail_open);
        TEST(restart_is_systemds_table);
        TEST(a_reference_outlives_the_configuration);
        TEST(equality_is_about_how_it_is_run);
        TEST(a_reload_signal_makes_a_difference);
        TEST(times_are_read_exactly);
        TEST(signals_have_names);
        TEST(arguments_may_have_quotes_inside);
})
