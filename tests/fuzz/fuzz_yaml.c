/* Any bytes as a YAML file, and as a --set: parsed, walked, refused or read, never a crash. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sim/base/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(struct yaml *y, struct yaml_node *at, int depth)
{
    static const char *const words[] = {"one", "two", NULL};
    char path[64], quoted[64];
    for (struct yaml_node *c = at->first; c && depth < YAML_MAX_DEPTH; c = c->next) {
        yaml_path(c, path, sizeof path);
        if (c->type == YAML_TEXT)
            yaml_quote(c->text, quoted, sizeof quoted);
        struct yaml each = *y; /* so that one error does not end the walk */
        switch (c->index % 6) {
        case 0:
            yaml_int(&each, c, NULL, -5, 5);
            break;
        case 1:
            yaml_double_or(&each, c, NULL, -1, 1, 0);
            break;
        case 2:
            yaml_quantity(&each, c, NULL, (enum unit)(c->line % UNITS));
            break;
        case 3:
            yaml_enum(&each, c, NULL, words);
            break;
        case 4: {
            int32_t n;
            yaml_ints(&each, c, NULL, 0, 9, &n);
            break;
        }
        default:
            yaml_bool(&each, c, NULL);
            break;
        }
        walk(y, c, depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    arena_init(&a);
    struct err e = {0};
    struct yaml y;
    if (!yaml_parse(&y, "fuzz", data, size, &a, &e)) {
        y.need_source = size & 1;
        walk(&y, y.root, 0);
        yaml_done(&y);
    }
    static const char base[] = "a: 1\nb: {c: 2}\nd: [{name: x, v: 3}]\n";
    memset(&e, 0, sizeof e);
    char *set = malloc(size + 1);
    if (set && !yaml_parse(&y, "base", base, sizeof base - 1, &a, &e)) {
        memcpy(set, data, size);
        set[size] = 0;
        yaml_set(&y, NULL, set);
        walk(&y, y.root, 0);
        yaml_done(&y);
    }
    free(set);
    arena_fini(&a);
    return 0;
}
