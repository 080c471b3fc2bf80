/*
 * What a server may answer to a probe: any bytes are a valid argument, and more of them never take
 * back what was found in fewer.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "components/http_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int parse(const uint8_t *data, size_t size, unsigned *ret_status) {
        char *copy = malloc(size ? size : 1);
        int r;

        if (!copy)
                exit(0);
        memcpy(copy, data, size);
        r = http_answer_parse(copy, size, ret_status);
        free(copy);
        return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        unsigned whole = 0, part = 0;
        int r = parse(data, size, &whole), half = parse(data, size / 2, &part);

        if (r > 0 && (whole < 101 || whole > 999 || (whole < 200 && whole != 101)))
                abort();
        if (r == 0 && size >= HTTP_ANSWER_MAX)
                abort();
        if (half != 0 && (half != r || part != whole))
                abort();
        return 0;
}
