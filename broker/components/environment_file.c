/*
 * A file of EnvironmentFile= (systemd.exec(5)): NAME=VALUE a line; '#' and ';' begin comments;
 * values may be quoted, over several lines too, and go on in the next line after a backslash. Lines
 * that are none of this are skipped, as systemd does. The text is unfolded in place, because no
 * value is longer than what it was written as.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/environment.h"

/* No environment is larger: execve(2) takes a quarter of the stack's limit, 6 MiB at the most. */
#define FILE_MAX_SIZE (6 * 1024 * 1024)

/* The whole file, terminated. A NUL inside ends it. */
static int read_file(const char *path, char **ret) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        _cleanup_free_ char *text = NULL;
        size_t size = 0, capacity = 0;
        ssize_t n;

        if (fd < 0)
                return -errno;
        do {
                if (capacity - size < 2) {
                        char *larger;

                        if (capacity >= FILE_MAX_SIZE)
                                return -EFBIG;
                        capacity = capacity > 0 ? 2 * capacity : 4096;
                        larger = realloc(text, capacity);
                        if (!larger)
                                return -ENOMEM;
                        text = larger;
                }
                n = read(fd, text + size, capacity - size - 1);
                if (n > 0)
                        size += (size_t) n;
        } while (n > 0 || (n < 0 && errno == EINTR));
        if (n < 0)
                return -errno;
        text[size] = '\0';
        *ret = text;
        text = NULL;
        return 0;
}

static bool is_blank(char c) {
        return c == ' ' || c == '\t' || c == '\r';
}

static const char *skip_blanks(const char *p) {
        while (is_blank(*p))
                p++;
        return p;
}

/* To the end of the line, which a backslash moves to the next one. */
static const char *skip_comment(const char *p) {
        while (*p && *p != '\n')
                p += p[0] == '\\' && p[1] ? 2 : 1;
        return p;
}

static const char *read_single_quoted(const char *p, char **to) {
        while (*p && *p != '\'')
                *(*to)++ = *p++;
        return *p ? p + 1 : p;
}

static const char *read_double_quoted(const char *p, char **to) {
        while (*p && *p != '"') {
                if (p[0] == '\\' && p[1] == '\n') {
                        p += 2;
                        continue;
                }
                if (p[0] == '\\' && p[1] && strchr("\"\\`$", p[1]))
                        p++;
                *(*to)++ = *p++;
        }
        return *p ? p + 1 : p;
}

/* Up to the end of the line; blanks before that do not count, unless they are escaped. */
static const char *read_bare(const char *p, char **to) {
        char *end = *to;

        while (*p && *p != '\n') {
                if (p[0] == '\\') {
                        p++;
                        if (!*p)
                                break;
                        if (*p != '\n') {
                                *(*to)++ = *p;
                                end = *to;
                        }
                        p++;
                        continue;
                }
                *(*to)++ = *p;
                if (!is_blank(*p++))
                        end = *to;
        }
        *to = end;
        return p;
}

/* One value into `to`, which it terminates; the next line. */
static const char *read_value(const char *p, char *to) {
        for (p = skip_blanks(p); *p && *p != '\n'; p = skip_blanks(p)) {
                if (*p == '\'')
                        p = read_single_quoted(p + 1, &to);
                else if (*p == '"')
                        p = read_double_quoted(p + 1, &to);
                else
                        p = read_bare(p, &to);
        }
        if (*p == '\n')
                p++; /* before the terminator, which may come to stand there */
        *to = '\0';
        return p;
}

static bool is_name(const char *name, size_t length) {
        if (length == 0 || isdigit((unsigned char) name[0]))
                return false;
        for (size_t i = 0; i < length; i++)
                if (!isalnum((unsigned char) name[i]) && name[i] != '_')
                        return false;
        return true;
}

static size_t trimmed(const char *text, size_t length) {
        while (length > 0 && is_blank(text[length - 1]))
                length--;
        return length;
}

int environment_load(struct environment *e, const char *path) {
        _cleanup_free_ char *text = NULL;
        int r = read_file(path, &text);

        for (const char *p = text; r == 0 && *(p += strspn(p, " \t\r\n"));) {
                char *name = text + (p - text), *value;
                size_t length = strcspn(p, "=\n");

                if (*p == '#' || *p == ';' || p[length] != '=') {
                        p = skip_comment(p);
                        continue;
                }
                value = name + length + 1; /* unfolded where it stands */
                p = read_value(value, value);
                length = trimmed(name, length);
                name[length] = '\0';
                if (is_name(name, length))
                        r = environment_set(e, name, value);
        }
        return r;
}
