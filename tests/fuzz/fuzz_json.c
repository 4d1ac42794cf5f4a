/* Any bytes as JSON: refused, or read; and what was read survives being written and read again. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sim/base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Copies one value from r to w. Returns the reader's code; -1 for a key with a NUL in it, which the
 * writer does not take. */
static int copy(struct json_reader *r, struct json_writer *w)
{
    struct json_token t;
    char *key = NULL;
    int code;
    for (;;) {
        code = json_next(r, &t, NULL);
        if (code || t.type == JSON_END)
            break;
        switch (t.type) {
        case JSON_KEY:
            if (strlen(t.text) != t.n) {
                free(key);
                return -1;
            }
            key = realloc(key, t.n + 1);
            memcpy(key, t.text, t.n + 1);
            continue;
        case JSON_OBJECT:
            json_object(w, key);
            break;
        case JSON_ARRAY:
            json_array(w, key);
            break;
        case JSON_OBJECT_END:
        case JSON_ARRAY_END:
            json_close(w);
            break;
        case JSON_STRING:
            json_string_n(w, key, t.text, t.n);
            break;
        case JSON_INT:
            json_int(w, key, t.i);
            break;
        case JSON_DOUBLE:
            json_double(w, key, t.d);
            break;
        case JSON_BOOL:
            json_bool(w, key, t.b);
            break;
        default:
            json_null(w, key);
            break;
        }
        free(key);
        key = NULL;
    }
    free(key);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_reader r;
    struct json_writer one, two;
    json_writer_init(&one, NULL, 0);
    json_writer_init(&two, NULL, 0);
    json_init(&r, "fuzz", (const char *)data, size, 1);
    int code = copy(&r, &one);
    json_fini(&r);
    if (code == ERR_OK) {
        int line = json_line(&one);
        assert(line == ERR_OK);
        json_init(&r, "again", one.data, one.n, 1);
        code = copy(&r, &two);
        assert(code == ERR_OK);
        line = json_line(&two);
        assert(line == ERR_OK);
        assert(one.n == two.n && !memcmp(one.data, two.data, one.n));
        json_fini(&r);
    }
    json_writer_fini(&one);
    json_writer_fini(&two);

    struct err e = {0};
    struct json_lines lines;
    struct json_token t;
    json_lines_init(&lines, "fuzz", (const char *)data, size);
    while (json_lines_next(&lines, &r)) {
        while (json_skip(&r, &t, &e) == ERR_OK && t.type != JSON_END)
            ;
        json_fini(&r);
    }
    return 0;
}
