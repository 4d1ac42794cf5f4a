/* Pinning a thread to a core: the one thing that POSIX has no word for. */
#ifndef TANDEM_EXEC_PIN_H
#define TANDEM_EXEC_PIN_H

#include <stdint.h>

/* Pins the calling thread to core `cpu`. Returns 0, or an errno: EINVAL when this process may not
 * use that core, ENOTSUP on a system where threads cannot be pinned. */
int pin_thread(int32_t cpu);

#endif
