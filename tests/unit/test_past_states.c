/*
 * State documents that past versions wrote (tests/upgrade/, made by dump.py there) load in this
 * one, and go on: an upgrade finds what the broker before it knew.
 */
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "cleanup.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/loop.h"
#include "keeper/memory.h"
#include "support.h"

/* Lines "OFFSET HEX", zeroes left out; the last one is the size. */
static int load(const char *path) {
        int fd = memfd_create("past", MFD_CLOEXEC);
        char line[512], hex[256];
        unsigned long at;
        FILE *f = fopen(path, "re");

        ck_assert_msg(f && fd >= 0, "%s cannot be read", path);
        while (fgets(line, sizeof(line), f)) {
                int n = sscanf(line, "%lx %255s", &at, hex);
                if (line[0] == '#')
                        continue;
                ck_assert_int_ge(n, 1);
                for (size_t i = 0; n == 2 && hex[2 * i]; i++) {
                        unsigned byte;
                        ck_assert_int_eq(sscanf(hex + 2 * i, "%2x", &byte), 1);
                        ck_assert_int_eq(
                                (int) pwrite(fd, &(char){(char) byte}, 1, (off_t) (at + i)), 1);
                }
                if (n == 1)
                        ck_assert_int_eq(ftruncate(fd, (off_t) at), 0);
        }
        ck_assert_int_eq(fclose(f), 0);
        return fd;
}

/* Numbers are in the byte order of the machine that wrote it. */
static bool is_ours(const char *path) {
        _cleanup_free_ char *first = NULL;
        bool little = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
        FILE *f = fopen(path, "re");
        size_t size = 0;

        ck_assert(f && getline(&first, &size, f) > 0);
        ck_assert_int_eq(fclose(f), 0);
        return strstr(first, little ? "little endian" : "big endian") != NULL;
}

static size_t count(const struct memory *m, const char *kind) {
        size_t n = 0;

        for (const char *id = memory_first(m, kind); id; id = memory_next(m, kind, id))
                n++;
        return n;
}

static void check_known(const struct memory *m, const char *path) {
        static const struct {
                const char *kind;
                size_t at_least;
        } wanted[] = {{"socket", 2}, {"holder", 1},  {"lease", 2},
                      {"config", 1}, {"control", 1}, {"lock", 1}};

        if (strstr(path, "-stored")) {
                ck_assert_uint_eq(count(m, "stored"), 2);
                ck_assert_uint_eq(count(m, "stored_fd"), 4);
        }
        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
                ck_assert_msg(count(m, wanted[i].kind) >= wanted[i].at_least, "%s: too few %s",
                              path, wanted[i].kind);
}

static void check_loads(const char *path) {
        struct state_report report;
        struct inherited *inherited;
        struct memory *m;
        struct state *s;
        struct loop *loop;
        struct log *log;
        int fd = load(path);

        ck_assert_msg(state_open(&s, fcntl(fd, F_DUPFD_CLOEXEC, 3), &report) == 0, "%s", path);
        ck_assert_uint_eq(report.bytes_lost, 0);
        ck_assert(!report.other_slot);
        state_free(s);
        ck_assert_int_eq(loop_new(&loop), 0);
        ck_assert_int_eq(log_new(&log, "test", LOG_TARGET_STDERR, LEVEL_WARNING), 0);
        ck_assert_int_eq(inherited_new(&inherited), 0);
        ck_assert_int_eq(inherited_put_fd(inherited, MEMORY_STATE_ID, fd), 0);
        ck_assert_int_eq(memory_new(&m, FD_STORE_NONE, -1, inherited, loop, log), 0);
        check_known(m, path);
        memory_free(m);
        inherited_free(inherited);
        log_free(log);
        loop_free(loop);
}

START_TEST(what_past_versions_wrote_loads) {
        glob_t found;
        size_t checked = 0;

        ck_assert_int_eq(glob(SOURCE_ROOT "/tests/upgrade/state-*.hex", 0, NULL, &found), 0);
        for (size_t i = 0; i < found.gl_pathc; i++)
                if (is_ours(found.gl_pathv[i])) {
                        check_loads(found.gl_pathv[i]);
                        checked++;
                }
        globfree(&found);
        if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
                ck_assert_uint_gt(checked, 0);
}
END_TEST

SUITE("past_states", { TEST(what_past_versions_wrote_loads); })
