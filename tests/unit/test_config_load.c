/* Which files belong to a configuration, what happens to those that cannot be read, and how long
 * a large one takes. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "config/config.h"
#include "config/values.h"

static struct diagnostics diagnostics;
static struct config *config;

static int load(const char *name) {
        diagnostics_clear(&diagnostics);
        config = config_free(config);
        return config_load(name ? test_path(name) : test_folder(), &diagnostics, &config);
}

/* Is there a message of that severity, about that file, with that text in it? */
static bool is_said(enum severity severity, const char *file, const char *text) {
        for (size_t i = 0; i < diagnostics.count; i++) {
                const struct diagnostic *d = &diagnostics.items[i];

                if (d->severity == severity && d->file &&
                    strcmp(d->file, file ? test_path(file) : test_folder()) == 0 &&
                    strstr(d->text, text))
                        return true;
        }
        diagnostics_print(&diagnostics, stderr);
        return false;
}

#define assert_error(file, text) ck_assert(is_said(SEVERITY_ERROR, file, text))
#define assert_warning(file, text) ck_assert(is_said(SEVERITY_WARNING, file, text))

static void assert_loads(const char *name, size_t sockets) {
        int r = load(name);

        ck_assert_msg(r == 0, "%s",
                      diagnostics.count > 0 ? diagnostics.items[0].text : "no message");
        ck_assert_uint_eq(config->n_sockets, sockets);
}

static void done(void) {
        diagnostics_clear(&diagnostics);
        config = config_free(config);
}

static const char *address_of(const char *listener) {
        static char text[ADDRESS_TEXT_SIZE];
        const struct socket_config *s = config_find_socket(config, listener);

        ck_assert_ptr_nonnull(s);
        return address_text(s->addresses[s->n_addresses - 1], text);
}

START_TEST(a_folder_is_read_in_order) {
        test_write("fdpass.conf", "[Socket web]\nListenStream=1\nBacklog=1\n");
        test_write("fdpass.conf.d/20-later.conf", "[Socket web]\nBacklog=3\n");
        test_write("fdpass.conf.d/10-first.conf", "[Socket web]\nBacklog=2\nSocketMode=0600\n");
        test_write("fdpass.conf.d/30-new.conf", "[Socket new]\nListenStream=2\n");
        test_write("fdpass.conf.d/README", "not read\n");
        test_write("api.socket", "[Socket]\nListenStream=3\n");
        test_write("api.socket.d/a.conf", "[Socket]\nListenStream=\nListenStream=4\n");
        test_write("api.socket.d/b.conf", "[X-Fdpass]\nAccess=7\n");
        assert_loads(NULL, 3);
        ck_assert_uint_eq(diagnostics.count, 0);
        ck_assert_uint_eq(config_find_socket(config, "web")->backlog, 3);
        ck_assert_uint_eq(config_find_socket(config, "web")->socket_mode, 0600);
        ck_assert_str_eq(address_of("new"), "[::]:2");
        ck_assert_uint_eq(config_find_socket(config, "api")->n_addresses, 1);
        ck_assert_str_eq(address_of("api"), "[::]:4");
        ck_assert_str_eq(config_find_socket(config, "api")->fd_name, "api.socket");
        ck_assert_uint_eq(config_find_socket(config, "api")->access.users[0], 7);
        ck_assert_str_eq(config_find_socket(config, "api")->file, test_path("api.socket"));
        ck_assert_ptr_null(config_find_socket(config, "none"));
        /* the sockets are in name order */
        ck_assert_str_eq(config->sockets[0]->name, "api");
        ck_assert_str_eq(config->sockets[2]->name, "web");
        done();
}
END_TEST

START_TEST(a_file_is_read_with_its_drop_ins) {
        test_write("my.conf", "[Socket web]\nListenStream=1\n");
        test_write("my.conf.d/x.conf", "[Socket web]\nNonBlocking=yes\n");
        test_write("other.socket", "[Socket]\nListenStream=1\n");
        test_write("other.socket.d/x.conf", "[Socket]\nBacklog=9\n");
        assert_loads("my.conf", 1);
        ck_assert(config->sockets[0]->non_blocking);
        assert_loads("other.socket", 1);
        ck_assert_str_eq(config->sockets[0]->name, "other");
        ck_assert_uint_eq(config->sockets[0]->backlog, 9);
        done();
}
END_TEST

START_TEST(left_over_files_are_ignored) {
        test_write("fdpass.conf", "[Socket web]\nListenStream=1\n");
        test_write("fdpass.conf~", "rubbish\n");
        test_write(".hidden.socket", "rubbish\n");
        test_write("web.socket.dpkg-dist", "rubbish\n");
        test_write("web.dpkg-new.socket", "rubbish\n");
        test_write("fdpass.conf.d/.x.conf", "rubbish\n");
        test_write("fdpass.conf.d/x.conf~", "rubbish\n");
        test_write("README", "rubbish\n");
        test_write("sockets.target.wants/web.socket", "rubbish\n");
        assert_loads(NULL, 1);
        ck_assert_uint_eq(diagnostics.count, 0);
        done();
}
END_TEST

START_TEST(files_that_have_no_effect_are_warned_of) {
        test_write("fdpass.conf", "[Socket web]\nListenStream=1\n");
        test_write("hermes@.service", "[Service]\nExecStart=/bin/true\n");
        test_write("web.conf", "[Socket x]\nListenStream=2\n");
        test_write("none.socket.d/x.conf", "[Socket]\nBacklog=1\n");
        test_write("web@.socket", "[Socket]\nListenStream=%i\n");
        assert_loads(NULL, 1);
        ck_assert_uint_eq(diagnostics.warnings, 4);
        assert_warning("hermes@.service", "template");
        assert_warning("web.conf", "is not read");
        assert_warning("none.socket.d", "there is no none.socket");
        assert_warning("web@.socket", "template");
        done();
}
END_TEST

START_TEST(an_instance_has_the_drop_ins_of_its_template) {
        test_write("web@.socket", "[Socket]\nListenStream=127.0.0.1:%i\n");
        ck_assert_int_eq(symlink("web@.socket", test_path("web@81.socket")), 0);
        test_write("web@.socket.d/x.conf", "[Socket]\nBacklog=5\n");
        test_write("web@81.socket.d/x.conf", "[Socket]\nSocketMode=0600\n");
        assert_loads(NULL, 1);
        ck_assert_str_eq(address_of("web@81"), "127.0.0.1:81");
        ck_assert_uint_eq(config->sockets[0]->backlog, 5);
        ck_assert_uint_eq(config->sockets[0]->socket_mode, 0600);
        done();
}
END_TEST

START_TEST(a_masked_unit_is_no_listener) {
        test_write("fdpass.conf", "[Socket web]\nListenStream=1\n");
        ck_assert_int_eq(symlink("/dev/null", test_path("masked.socket")), 0);
        test_write("masked.socket.d/x.conf", "[Socket]\nListenStream=2\n");
        test_write("empty.socket", "");
        assert_loads(NULL, 1);
        ck_assert_uint_eq(diagnostics.count, 0);
        done();
}
END_TEST

/* A FIFO nobody writes to would keep open(2) waiting for ever. */
START_TEST(what_is_no_file_is_an_error_that_names_it) {
        ck_assert_int_eq(mkfifo(test_path("fifo.socket"), 0600), 0);
        ck_assert_int_eq(mkdir(test_path("folder.socket"), 0700), 0);
        ck_assert_int_eq(symlink("/nonexistent/there", test_path("dangling.socket")), 0);
        ck_assert_int_eq(symlink("/dev/zero", test_path("device.socket")), 0);
        ck_assert_int_eq(symlink("loop.socket", test_path("loop.socket")), 0);
        test_write("fdpass.conf.d", "a file");
        ck_assert_int_eq(load(NULL), -EINVAL);
        assert_error("fifo.socket", "is a FIFO");
        assert_error("folder.socket", "is a folder");
        assert_error("dangling.socket", "leads to /nonexistent/there");
        assert_error("device.socket", "is a device");
        assert_error("loop.socket", "cannot be read");
        assert_error("fdpass.conf.d", "cannot be read");
        ck_assert_uint_eq(diagnostics.errors, 6);
        ck_assert_int_eq(load("fifo.socket"), -EINVAL);
        ck_assert_ptr_null(config);
        done();
}
END_TEST

START_TEST(an_unreadable_file_is_an_error) {
        const char *path = test_write("fdpass.conf", "[Socket web]\nListenStream=1\n");

        ck_assert_int_eq(chmod(path, 0), 0);
        ck_assert_int_eq(chmod(test_folder(), 0755), 0);
        if (geteuid() == 0)
                ck_assert_int_eq(seteuid(12345), 0); /* root may read anything */
        ck_assert_int_eq(load(NULL), -EINVAL);
        assert_error("fdpass.conf", "may not be read by uid");
        if (getuid() == 0)
                ck_assert_int_eq(seteuid(0), 0);
        done();
}
END_TEST

START_TEST(what_is_not_there_is_enoent) {
        ck_assert_int_eq(load("none"), -ENOENT);
        assert_error("none", "there is no such file or folder");
        ck_assert_int_eq(symlink("nowhere", test_path("link")), 0);
        ck_assert_int_eq(load("link"), -ENOENT);
        done();
}
END_TEST

START_TEST(a_folder_without_listeners_loads_with_a_warning) {
        assert_loads(NULL, 0);
        assert_warning(NULL, "no listener is configured");
        done();
}
END_TEST

START_TEST(a_name_is_used_once) {
        test_write("fdpass.conf", "[Socket web]\nListenStream=1\n");
        test_write("web.socket", "[Socket]\nListenStream=2\n");
        ck_assert_int_eq(load(NULL), -EINVAL);
        assert_error("web.socket", "a listener called web is at");
        test_write("fdpass.conf", "[Socket other]\nListenStream=1\n[Socket other]\n");
        ck_assert_int_eq(load(NULL), -EINVAL);
        assert_error("fdpass.conf", "a listener of this name is at");
        done();
}
END_TEST

START_TEST(a_unit_file_needs_a_possible_name) {
        test_write("a b.socket", "[Socket]\nListenStream=1\n");
        test_write("-x.socket", "[Socket]\nListenStream=2\n");
        ck_assert_int_eq(load(NULL), -EINVAL);
        assert_error("a b.socket", "cannot be a listener's name");
        assert_error("-x.socket", "cannot be a listener's name");
        done();
}
END_TEST

START_TEST(a_slash_at_the_end_of_the_folder_does_not_matter) {
        char *folder;

        test_write("fdpass.conf", "[Socket web]\nListenStream=1\n");
        ck_assert_int_gt(asprintf(&folder, "%s///", test_folder()), 0);
        ck_assert_int_eq(config_load(folder, &diagnostics, &config), 0);
        ck_assert_str_eq(config->sockets[0]->file, test_path("fdpass.conf"));
        free(folder);
        done();
}
END_TEST

static uint64_t now_usec(void) {
        struct timespec t;

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}

static FILE *begin_file(const char *name) {
        FILE *f = fopen(test_write(name, ""), "we");

        ck_assert_ptr_nonnull(f);
        return f;
}

/* All with one port and the same user, where a comparison of each with each would begin to show. It
 * takes 50 ms of processor time; the bound leaves room for sanitizers and valgrind. */
START_TEST(ten_thousand_listeners_load_at_once) {
        FILE *f = begin_file("fdpass.conf");
        uint64_t before;

        for (unsigned i = 0; i < 10000; i++)
                fprintf(f, "[Socket l%u]\nListenStream=127.1.%u.%u:80\nAccess=root @root %%U\n", i,
                        i / 250, i % 250 + 1);
        fclose(f);
        before = now_usec();
        assert_loads(NULL, 10000);
        ck_assert_uint_lt(now_usec() - before, 5000000);
        ck_assert_uint_eq(diagnostics.count, 0);
        done();
}
END_TEST

START_TEST(messages_are_bounded) {
        FILE *f = begin_file("fdpass.conf"), *stream;
        char *text;
        size_t size;

        for (unsigned i = 0; i < 5000; i++)
                fprintf(f, "rubbish\n");
        fclose(f);
        ck_assert_int_eq(load(NULL), -EINVAL);
        ck_assert_uint_eq(diagnostics.errors, 5000);
        ck_assert_uint_eq(diagnostics.count, 1000);
        stream = open_memstream(&text, &size);
        diagnostics_print(&diagnostics, stream);
        fclose(stream);
        ck_assert_ptr_nonnull(strstr(text, "4000 more messages are not shown"));
        free(text);
        done();
}
END_TEST

/* They go to terminals and into JSON. */
START_TEST(messages_are_plain_text) {
        char long_key[512] = "[Socket web]\n";

        for (size_t i = 0; i < 100; i++)
                strcat(long_key, "\u20ac"); /* three bytes: 80 are no multiple of that */
        strcat(long_key, "=1\nX\033[2J\302\233=1\nBacklog=\007\nListenStream=1\n");
        test_write("fdpass.conf", long_key);
        test_write("a\033\377.socket", "");
        ck_assert_int_eq(load(NULL), -EINVAL);
        ck_assert_uint_eq(diagnostics.errors, 4);
        for (size_t i = 0; i < diagnostics.count; i++) {
                ck_assert(value_is_utf8(diagnostics.items[i].text,
                                        strlen(diagnostics.items[i].text)));
                ck_assert(value_is_utf8(diagnostics.items[i].file,
                                        strlen(diagnostics.items[i].file)));
                ck_assert_ptr_null(strpbrk(diagnostics.items[i].text, "\033\007"));
                ck_assert_ptr_null(strstr(diagnostics.items[i].text, "\302\233"));
                ck_assert_ptr_null(strchr(diagnostics.items[i].file, '\033'));
        }
        done();
}
END_TEST

START_TEST(sizes_are_bounded) {
        FILE *f = begin_file("fdpass.conf");

        ck_assert_int_eq(ftruncate(fileno(f), 17 * 1024 * 1024), 0);
        fclose(f);
        ck_assert_int_eq(load(NULL), -EINVAL);
        assert_error("fdpass.conf", "is longer than");
        f = begin_file("fdpass.conf");
        fprintf(f, "[Socket web]\nAccess=");
        for (unsigned i = 0; i < 40000; i++)
                fprintf(f, "1 ");
        fprintf(f, "\nListenStream=1\n");
        fclose(f);
        ck_assert_int_eq(load(NULL), -EINVAL);
        assert_error("fdpass.conf", "the line is longer than");
        ck_assert_uint_eq(diagnostics.errors, 1);
        f = begin_file("fdpass.conf");
        for (unsigned i = 0; i < 70000; i++)
                fprintf(f, "[X-a]\n");
        fclose(f);
        ck_assert_int_eq(load(NULL), -EINVAL);
        assert_error("fdpass.conf", "more than 65536 sections");
        done();
}
END_TEST

START_TEST(a_copy_is_equal_and_independent) {
        struct socket_config *copy;

        test_write("fdpass.conf", "[Socket a]\nListenStream=1\nListenStream=/x\nAccess=1 @2\n"
                                  "[Socket b]\nListenStream=2\n");
        assert_loads(NULL, 2);
        ck_assert_int_eq(socket_config_copy(config->sockets[0], &copy), 0);
        ck_assert(socket_config_equal(copy, config->sockets[0]));
        ck_assert(!socket_config_equal(copy, config->sockets[1]));
        config = config_free(config);
        ck_assert_str_eq(copy->name, "a");
        ck_assert(access_list_has(&copy->access, 1, NULL, 0));
        socket_config_free(copy);
        done();
}
END_TEST

/* Equal means: the sockets need not be touched. */
START_TEST(equality_is_about_the_sockets) {
        static const struct {
                const char *line;
                bool equal;
        } rows[] = {
                {"Access=5", true},
                {"Operators=5", true},
                {"FileDescriptorName=x", true},
                {"Backlog=5", false},
                {"ListenStream=2", false},
                {"NonBlocking=yes", false},
                {"SocketMode=0600", false},
                {"SocketUser=root", false},
                {"SocketGroup=5", false},
                {"DirectoryMode=0700", false},
                {"BindIPv6Only=both", false},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char *text;
                struct socket_config *before;

                test_write("fdpass.conf", "[Socket a]\nListenStream=1\n");
                assert_loads(NULL, 1);
                ck_assert_int_eq(socket_config_copy(config->sockets[0], &before), 0);
                ck_assert_int_gt(asprintf(&text, "[Socket b]\nListenStream=1\n%s\n", rows[i].line),
                                 0);
                test_write("fdpass.conf", text);
                assert_loads(NULL, 1);
                ck_assert_msg(socket_config_equal(before, config->sockets[0]) == rows[i].equal,
                              "%s", rows[i].line);
                socket_config_free(before);
                free(text);
        }
        done();
}
END_TEST

START_TEST(the_default_path_follows_the_environment) {
        char *path;

        if (geteuid() == 0) {
                path = config_default_path();
                ck_assert_str_eq(path, "/etc/fdpass");
                free(path);
                ck_assert_int_eq(seteuid(12345), 0);
        }
        setenv("HOME", "/home/x", 1);
        unsetenv("XDG_CONFIG_HOME");
        path = config_default_path();
        /* after seteuid() from root the process is a privileged one: no environment for it */
        if (getuid() == geteuid())
                ck_assert_str_eq(path, "/home/x/.config/fdpass");
        free(path);
        setenv("XDG_CONFIG_HOME", "/conf", 1);
        path = config_default_path();
        if (getuid() == geteuid())
                ck_assert_str_eq(path, "/conf/fdpass");
        free(path);
        if (getuid() == 0)
                ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

SUITE("config load", {
        TEST(a_folder_is_read_in_order);
        TEST(a_file_is_read_with_its_drop_ins);
        TEST(left_over_files_are_ignored);
        TEST(files_that_have_no_effect_are_warned_of);
        TEST(an_instance_has_the_drop_ins_of_its_template);
        TEST(a_masked_unit_is_no_listener);
        TEST(what_is_no_file_is_an_error_that_names_it);
        TEST(an_unreadable_file_is_an_error);
        TEST(what_is_not_there_is_enoent);
        TEST(a_folder_without_listeners_loads_with_a_warning);
        TEST(a_name_is_used_once);
        TEST(a_unit_file_needs_a_possible_name);
        TEST(a_slash_at_the_end_of_the_folder_does_not_matter);
        TEST(ten_thousand_listeners_load_at_once);
        TEST(messages_are_bounded);
        TEST(messages_are_plain_text);
        TEST(sizes_are_bounded);
        TEST(a_copy_is_equal_and_independent);
        TEST(equality_is_about_the_sockets);
        TEST(the_default_path_follows_the_environment);
})
