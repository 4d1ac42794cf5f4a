/* Logs: the header, every record, the set-up, and the exports; as they are, and with checksums that
 * fit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/log_fix.h"
#include "traces/export.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void read_all(const uint8_t *data, size_t n, int how)
{
    struct log_reader *r;
    struct log_record at = {0};
    struct run_setup setup;
    struct exec_caps caps;
    struct err e = {0};
    if (log_open_bytes("fuzz.log", data, n, &r, &e))
        return;
    FILE *f = fopen("/dev/null", "w");
    if (!f)
        abort();
    switch (how) {
    case 0:
        log_setup(r, NULL, &setup, &caps, &e);
        while (at.type != LOG_TRAILER && !log_next(r, &at, &e))
            ;
        break;
    case 1:
        export_text(r, f, 3, &e);
        break;
    case 2:
        export_csv(r, f, &e);
        break;
    default:
        export_perfetto(r, f, &e);
        break;
    }
    fclose(f);
    log_close_reader(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint8_t *copy = malloc(n + 1);
    if (!copy)
        return 0;
    memcpy(copy, data, n);
    read_all(copy, n, 0);
    log_fix(copy, n);
    for (int how = 0; how < 4; how++)
        read_all(copy, n, how);
    free(copy);
    return 0;
}
