/* A component in the document of STATUS; docs/protocol.md has the members. */
#ifndef CONTROL_STATUS_COMPONENTS_H
#define CONTROL_STATUS_COMPONENTS_H

struct component;
struct json_writer;

void status_write_component(struct json_writer *json, const struct component *component);
/* Its member back_off_ms: until it is started again, or null. */
void status_write_back_off(struct json_writer *json, const struct component *component);

#endif
