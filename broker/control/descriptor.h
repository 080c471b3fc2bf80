/*
 * What may be kept of descriptors that others chose. Nothing here asks a file system: a file on
 * FUSE answers fstat(2) when its server likes to.
 */
#ifndef CONTROL_DESCRIPTOR_H
#define CONTROL_DESCRIPTOR_H

#include <stdint.h>

/* Data that is stored beside descriptors. */
#define STORED_DATA_MAX 65536

/*
 * NULL when it may be kept, else why not, as the end of a sentence: "is …". `control_path` is our
 * control socket's.
 */
const char *descriptor_refusal(int fd, const char *control_path);

/* The same for the memfd with the data, which must be sealed and have `size` bytes. */
const char *descriptor_data_refusal(int fd, uint64_t size);

#endif
