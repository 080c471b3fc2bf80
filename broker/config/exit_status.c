/* The exit statuses that have names: those of the C library, of LSB init scripts, of sysexits.h. */
#include "config/exit_status.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "config/values.h"

static const struct {
        const char *name;
        unsigned status;
} names[] = {
        {"SUCCESS", 0},      {"FAILURE", 1},      {"INVALIDARGUMENT", 2}, {"NOTIMPLEMENTED", 3},
        {"NOPERMISSION", 4}, {"NOTINSTALLED", 5}, {"NOTCONFIGURED", 6},   {"NOTRUNNING", 7},
        {"USAGE", 64},       {"DATAERR", 65},     {"NOINPUT", 66},        {"NOUSER", 67},
        {"NOHOST", 68},      {"UNAVAILABLE", 69}, {"SOFTWARE", 70},       {"OSERR", 71},
        {"OSFILE", 72},      {"CANTCREAT", 73},   {"IOERR", 74},          {"TEMPFAIL", 75},
        {"PROTOCOL", 76},    {"NOPERM", 77},      {"CONFIG", 78},
};

int exit_status_from_name(const char *name, unsigned *ret) {
        uint64_t number;

        if (value_to_number(name, 0, 255, &number) == 0) {
                *ret = (unsigned) number;
                return 0;
        }
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (strcmp(name, names[i].name) == 0) {
                        *ret = names[i].status;
                        return 0;
                }
        return -EINVAL;
}
