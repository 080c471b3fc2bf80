/*
 * The bytes of the state document (keeper/state.h): a header with two slots, and in a slot one
 * frame behind the other. Numbers are in the byte order of the machine: a memfd does not travel.
 */
#ifndef KEEPER_STATE_FORMAT_H
#define KEEPER_STATE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keeper/state.h"

#define STATE_MAGIC "fdpass state\n"
/* More cannot be ours: 10,000 listeners with leases are some megabytes. */
#define STATE_SIZE_MAX ((uint64_t) 1 << 30)

struct slot {
        uint64_t offset; /* in the memfd */
        uint64_t size;
        uint64_t sequence; /* of the snapshot; the higher valid one is active */
        uint64_t snapshot; /* bytes of the snapshot; changes follow */
        uint64_t next_id;
        uint32_t checksum; /* of this struct, this member as 0 */
        uint32_t unused;
};

/* At offset 0. Each slot's header has a checksum of its own, so no write has to be atomic. */
struct header {
        char magic[16];
        uint32_t format;
        uint32_t unused;
        struct slot slots[2];
};

/* Before each record in a slot. A removed record has length 0 behind its id. */
struct frame {
        uint32_t checksum; /* of what follows: id, payload */
        uint32_t length;   /* of the payload */
        char id[STATE_ID_SIZE];
};

static inline size_t frame_size(size_t length) {
        return sizeof(struct frame) + length;
}

uint32_t frame_checksum(const struct frame *frame, const char *payload);
uint32_t slot_checksum(const struct slot *slot);
bool state_id_is_valid(const char *id);
void frame_fill(struct frame *ret, const char *id, const char *payload, size_t length);

/* All of it. 0; -EBADMSG when the file ends before, -ENOSPC, or another errno. */
int read_at(int fd, void *data, size_t size, uint64_t offset);
int write_at(int fd, const void *data, size_t size, uint64_t offset);

#endif
