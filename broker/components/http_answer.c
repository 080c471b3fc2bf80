/* See http_answer.h. The headers are skipped, not parsed. */
#include "components/http_answer.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* "HTTP/1.1 200": letter by letter, 'd' is a digit. */
static const char form[] = "HTTP/1.d ddd";
#define FORM_SIZE (sizeof(form) - 1)

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

/* As far as it is there. */
static bool fits_form(const char *data, size_t size) {
        for (size_t i = 0; i < size && i < FORM_SIZE; i++)
                if (form[i] == 'd' ? !is_digit(data[i]) : data[i] != form[i])
                        return false;
        return true;
}

static bool is_interim(unsigned status) {
        return status >= 100 && status < 200 && status != 101;
}

/* The byte after the empty line that ends the headers, or NULL. Lines may end with a bare newline.
 */
static const char *after_headers(const char *data, const char *end) {
        for (;;) {
                const char *newline = memchr(data, '\n', (size_t) (end - data));

                if (!newline)
                        return NULL;
                data = newline + 1;
                if (data < end && *data == '\r')
                        data++;
                if (data < end && *data == '\n')
                        return data + 1;
        }
}

int http_answer_parse(const char *data, size_t size, unsigned *ret_status) {
        int more = size < HTTP_ANSWER_MAX ? 0 : -EBADMSG;
        const char *end = data + (size < HTTP_ANSWER_MAX ? size : HTTP_ANSWER_MAX);

        for (;;) {
                size_t rest = (size_t) (end - data);
                unsigned status;

                if (!fits_form(data, rest))
                        return -EBADMSG;
                /* One byte more: a fourth digit makes it no status. */
                if (rest <= FORM_SIZE)
                        return more;
                if (data[FORM_SIZE] != ' ' && data[FORM_SIZE] != '\r' && data[FORM_SIZE] != '\n')
                        return -EBADMSG;
                status = (unsigned) ((data[9] - '0') * 100 + (data[10] - '0') * 10 +
                                     (data[11] - '0'));
                if (status < 100)
                        return -EBADMSG;
                if (!is_interim(status)) {
                        *ret_status = status;
                        return 1;
                }
                data = after_headers(data, end);
                if (!data)
                        return more;
        }
}
