/*
 * Much of what the command prints was written by others: status lines of foreign processes, file
 * names, configuration. All of it passes display_escape() before it reaches a terminal.
 */
#include "cli/display.h"

#include <errno.h>
#include <langinfo.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/utf8.h"

char *display_escape(const char *text) {
        bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
        char *escaped = malloc(strlen(text) * 4 + 1), *out = escaped;

        if (!escaped)
                return NULL;
        while (*text) {
                uint32_t c = 0;
                size_t length = utf8_decode(text, UTF8_TERMINATED, &c);
                if (c == '\\' || c == '\n' || c == '\t') {
                        *out++ = '\\';
                        *out++ = c == '\\' ? '\\' : c == '\n' ? 'n' : 't';
                } else if (length == 0 || utf8_steers_terminal(c) || (length > 1 && !utf8)) {
                        length += length == 0;
                        for (size_t i = 0; i < length; i++)
                                out += sprintf(out, "\\x%02x", (unsigned char) text[i]);
                } else {
                        memcpy(out, text, length);
                        out += length;
                }
                text += length;
        }
        *out = '\0';
        return escaped;
}

const char *display_age(uint64_t since_usec, uint64_t now_usec, char ret[DISPLAY_AGE_SIZE]) {
        uint64_t s = now_usec > since_usec ? (now_usec - since_usec) / 1000000 : 0;
        uint64_t days = s / 86400, hours = s / 3600 % 24, minutes = s / 60 % 60;
        size_t size = DISPLAY_AGE_SIZE;

        if (s == 0)
                snprintf(ret, size, "now");
        else if (s < 60)
                snprintf(ret, size, "%us", (unsigned) s);
        else if (s < 3600)
                snprintf(ret, size, "%umin", (unsigned) minutes);
        else if (s < 86400)
                snprintf(ret, size, "%uh %umin", (unsigned) hours, (unsigned) minutes);
        else
                snprintf(ret, size, "%llud %uh", (unsigned long long) days, (unsigned) hours);
        return ret;
}

bool display_color(enum color_when when, FILE *stream) {
        const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");

        if (when != COLOR_AUTO)
                return when == COLOR_ALWAYS;
        return isatty(fileno(stream)) && !(no_color && *no_color) && terminal &&
               strcmp(terminal, "dumb") != 0;
}

void display_error(const char *format, ...) {
        _cleanup_free_ char *text = NULL, *shown = NULL;
        va_list arguments;
        int n;

        va_start(arguments, format);
        n = vasprintf(&text, format, arguments);
        va_end(arguments);
        if (n < 0) {
                text = NULL;
                fputs("fdpass: out of memory\n", stderr);
                return;
        }
        shown = display_escape(text);
        fprintf(stderr, "fdpass: %s\n", shown ? shown : "out of memory");
}

void display_diagnostic(FILE *stream, bool color, bool is_error, const char *file, uint64_t line,
                        const char *text) {
        _cleanup_free_ char *shown_file = file ? display_escape(file) : NULL;
        _cleanup_free_ char *shown = display_escape(text ? text : "out of memory");

        if (shown_file)
                fprintf(stream, "%s:", shown_file);
        if (shown_file && line > 0)
                fprintf(stream, "%llu:", (unsigned long long) line);
        fprintf(stream, "%s%s%s: %s%s\n", shown_file ? " " : "",
                !color     ? ""
                : is_error ? "\033[31m"
                           : "\033[33m",
                is_error ? "error" : "warning", color ? "\033[0m" : "",
                shown ? shown : "out of memory");
}

int display_finish(int status) {
        int error = 0;

        /* An earlier write may have failed and a later one gone well; errno is then gone, too. */
        if (ferror(stdout))
                error = errno ? errno : EIO;
        if (fclose(stdout) != 0)
                error = errno;
        if (error == 0)
                return status;
        display_error("the output could not be written: %s", strerror(error));
        return status == 0 ? 1 : status;
}
