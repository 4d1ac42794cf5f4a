#include "sim/base/arena.h"
#include "sim/base/err.h"
#include "sim/base/hash.h"
#include "tests/unit.h"

#include <string.h>

static void err_first_wins_and_formats(void)
{
    struct err e = {0};
    char buf[512];
    CHECK_EQ(err_at(&e, ERR_SCHEMA, "a.yaml", 3, 7, "width is %d", -4), ERR_SCHEMA);
    CHECK_EQ(err_set(&e, ERR_IO, "later"), ERR_IO);
    CHECK_STR(err_format(&e, buf, sizeof buf), "a.yaml:3:7: width is -4");
    CHECK_STR(err_text(ERR_SCHEMA), "input does not match its schema");
    CHECK_STR(err_text(12345), "?");
    CHECK_EQ(err_set(NULL, ERR_IO, "no record"), ERR_IO);
}

static void a_list_ends_where_a_name_does_not_fit(void)
{
    char list[17] = "";
    err_list(list, sizeof list, "one");
    err_list(list, sizeof list, "three");
    CHECK_STR(list, "one, three");
    err_list(list, sizeof list, "x"); /* fits, but nothing could follow */
    CHECK_STR(list, "one, three, ...");
    err_list(list, sizeof list, "y");
    CHECK_STR(list, "one, three, ...");
    char one[6] = "";
    err_list(one, sizeof one, "longer");
    CHECK_STR(one, "...");
    char exact[18] = "one, three";
    err_list(exact, sizeof exact, "x");
    err_list(exact, sizeof exact, "y");
    CHECK_STR(exact, "one, three, ...");
    char wider[19] = "one, three";
    err_list(wider, sizeof wider, "x");
    err_list(wider, sizeof wider, "y");
    CHECK_STR(wider, "one, three, x, ...");
}

static void arena_zeroes_aligns_and_grows(void)
{
    struct arena a;
    arena_init(&a);
    char *small = arena_alloc(&a, 3, 1);
    int64_t *big = arena_alloc(&a, 100003, sizeof *big);
    if (!CHECK(small && big))
        return;
    CHECK_EQ((uintptr_t)big % sizeof(int64_t), 0);
    CHECK_EQ(big[0] | big[50021] | big[100002], 0);
    CHECK(arena_alloc(&a, SIZE_MAX / 3, 7) == NULL);
    CHECK_STR(arena_strdup(&a, "abc"), "abc");
    CHECK(a.used_bytes >= 3 + 100003 * sizeof *big + 4);
    arena_reset(&a);
    CHECK_EQ(a.used_bytes, 0);
    /* What comes after room of any content, in one block, is zeroed all the same; a large piece
     * between two small ones leaves the block in use. */
    memset(arena_room(&a, 30000, 1), 0xff, 30000);
    arena_reset(&a);
    small = arena_alloc(&a, 30000, 1);
    CHECK(arena_room(&a, 100000, 1) != NULL);
    CHECK(arena_alloc(&a, 20000, 1) == small + 30000);
    CHECK_EQ(small[0] | small[15000] | small[29999], 0);
    arena_fini(&a);
}

static void crc_matches_the_published_check_value(void)
{
    /* "123456789" gives CBF43926: the check value in Williams's catalogue of CRCs. */
    CHECK_EQ(hash_crc32(0, "123456789", 9), 0xCBF43926);
    CHECK_EQ(hash_crc32(hash_crc32(0, "1234", 4), "56789", 5), 0xCBF43926);
}

static void hash_depends_on_every_byte_and_the_length(void)
{
    unsigned char data[131];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 37);
    uint64_t whole = hash_bytes(data, sizeof data, 5);
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] ^= 1;
        CHECK(hash_bytes(data, sizeof data, 5) != whole);
        data[i] ^= 1;
        CHECK(hash_bytes(data, i, 5) != whole);
    }
    CHECK(hash_bytes(data, sizeof data, 6) != whole);
}

static void draws_are_uniform_and_keyed(void)
{
    double sum = 0, square = 0;
    enum { N = 20000 };
    for (uint64_t i = 0; i < N; i++) {
        double u = rng_unit(rng_u64(7, RNG_TEST, 3, i));
        CHECK(u >= 0 && u < 1);
        sum += u;
        square += u * u;
    }
    /* mean 1/2, variance 1/12: 3.3 standard errors */
    CHECK_NEAR(sum / N, 0.5, 3.3 * 0.2887 / 141.4);
    CHECK_NEAR(square / N, 1.0 / 3, 3.3 * 0.2981 / 141.4);
    CHECK(rng_u64(7, RNG_TEST, 3, 0) != rng_u64(8, RNG_TEST, 3, 0));
    CHECK(rng_u64(7, RNG_TEST, 3, 0) != rng_u64(7, RNG_FAULT, 3, 0));
    CHECK(rng_u64(7, RNG_TEST, 3, 0) != rng_u64(7, RNG_TEST, 4, 0));
}

static const struct unit_test tests[] = {
    {"err_first_wins_and_formats", err_first_wins_and_formats},
    {"a_list_ends_where_a_name_does_not_fit", a_list_ends_where_a_name_does_not_fit},
    {"arena_zeroes_aligns_and_grows", arena_zeroes_aligns_and_grows},
    {"crc_matches_the_published_check_value", crc_matches_the_published_check_value},
    {"hash_depends_on_every_byte_and_the_length", hash_depends_on_every_byte_and_the_length},
    {"draws_are_uniform_and_keyed", draws_are_uniform_and_keyed},
    {NULL, NULL},
};

UNIT_MAIN("base", tests)
