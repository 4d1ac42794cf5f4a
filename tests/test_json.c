#include "sim/base/io.h"
#include "sim/base/json.h"
#include "tests/scratch.h"
#include "tests/unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads all of a text as a row of letters, one per token; the code and the record of the end. */
static int walk(const char *s, size_t n, char *seq, size_t cap, struct err *e)
{
    static const char letter[] = ".{}[]ksidbn";
    struct json_reader r;
    struct json_token t;
    size_t at = 0;
    int code;
    json_init(&r, "x.json", s, n, 1);
    do {
        code = json_next(&r, &t, e);
        if (!code && at + 1 < cap)
            seq[at++] = letter[t.type];
    } while (!code && t.type != JSON_END);
    seq[at] = 0;
    json_fini(&r);
    return code;
}

static void reads_every_kind_of_value(void)
{
    static const struct {
        const char *text, *seq;
    } ok[] = {
        {"0", "i."},
        {" \t\r\n-0 ", "i."},
        {"\"\"", "s."},
        {"[]", "[]."},
        {"{}", "{}."},
        {"[1,2.5,1e3,\"a\",true,false,null,{},[]]", "[iddsbbn{}[]]."},
        {"{\"a\":{\"b\":[[]]},\"\":0}", "{k{k[[]]}ki}."},
        {"1E-400", "d."}, /* too small is zero, as in IEEE 754 */
    };
    for (size_t i = 0; i < sizeof ok / sizeof ok[0]; i++) {
        struct err e = {0};
        char seq[64];
        CHECK_EQ(walk(ok[i].text, strlen(ok[i].text), seq, sizeof seq, &e), ERR_OK);
        CHECK_STR(seq, ok[i].seq);
    }
}

static void rejects_what_is_not_json(void)
{
    static const struct {
        const char *text;
        int code, line, col;
        const char *msg;
    } bad[] = {
        {"", ERR_PARSE, 1, 1, "ends here: expected a value"},
        {" \n ", ERR_PARSE, 2, 2, "ends here"},
        {"tru", ERR_PARSE, 1, 1, "expected a value"},
        {"nulll", ERR_PARSE, 1, 5, "nothing after the value"},
        {"[1,]", ERR_PARSE, 1, 4, "expected a value"},
        {"[1 2]", ERR_PARSE, 1, 4, "',' or ']'"},
        {"[1}", ERR_PARSE, 1, 3, "found '}'"},
        {"{\"a\":1,}", ERR_PARSE, 1, 8, "a key in double quotes"},
        {"{\"a\" 1}", ERR_PARSE, 1, 6, "':' after the key"},
        {"{\"a\":}", ERR_PARSE, 1, 6, "expected a value"},
        {"{1:2}", ERR_PARSE, 1, 2, "a key"},
        {"{\"a\":1]", ERR_PARSE, 1, 7, "',' or '}'"},
        {"{\n \"a\":\n  +1}", ERR_PARSE, 3, 3, "found '+'"},
        {"]", ERR_PARSE, 1, 1, "expected a value"},
        {"1 1", ERR_PARSE, 1, 3, "nothing after the value"},
        {"01", ERR_PARSE, 1, 2, "nothing after the value"},
        {"-", ERR_PARSE, 1, 2, "a digit"},
        {"1.", ERR_PARSE, 1, 3, "a digit"},
        {".5", ERR_PARSE, 1, 1, "expected a value"},
        {"1e", ERR_PARSE, 1, 3, "a digit"},
        {"1e+", ERR_PARSE, 1, 4, "a digit"},
        {"NaN", ERR_PARSE, 1, 1, "expected a value"},
        {"0x10", ERR_PARSE, 1, 2, "nothing after the value"},
        {"\"a", ERR_PARSE, 1, 3, "to end the string"},
        {"\"a\nb\"", ERR_PARSE, 1, 3, "an escape for a control character"},
        {"\"\\x\"", ERR_PARSE, 1, 3, "after '\\'"},
        {"\"\\", ERR_PARSE, 1, 3, "after '\\'"},
        {"\"\\u12g4\"", ERR_PARSE, 1, 6, "four hexadecimal digits"},
        {"\"\\ud800\"", ERR_PARSE, 1, 4, "half of a surrogate pair"},
        {"\"\\udc00\"", ERR_PARSE, 1, 4, "half of a surrogate pair"},
        {"\"\\ud800\\u0041\"", ERR_PARSE, 1, 4, "half of a surrogate pair"},
        {"\"\\udc00\\udc00\"", ERR_PARSE, 1, 4, "half of a surrogate pair"},
        {"\"\xc3\xa9\xff\"", ERR_PARSE, 1, 3, "0xff, which is not UTF-8"},
        {"\"\xc0\xaf\"", ERR_PARSE, 1, 2, "0xc0"},
        {"\"\xed\xa0\x80\"", ERR_PARSE, 1, 2, "0xed"},
        {"\"\xe2\x82\"", ERR_PARSE, 1, 2, "0xe2"},
        {"\xef\xbb\xbf{}", ERR_PARSE, 1, 1, "without a byte order mark"},
        {"\xff", ERR_PARSE, 1, 1, "found byte 0xff"},
        {"9223372036854775808", ERR_RANGE, 1, 1, "fits 64 bits"},
        {"[-9223372036854775809]", ERR_RANGE, 1, 2, "fits 64 bits"},
        {"1e999", ERR_RANGE, 1, 1, "1.8e308"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = {0};
        char seq[64];
        CHECK_EQ(walk(bad[i].text, strlen(bad[i].text), seq, sizeof seq, &e), bad[i].code);
        CHECK_EQ(e.line, bad[i].line);
        CHECK_EQ(e.col, bad[i].col);
        CHECK_HAS(e.msg, bad[i].msg);
        CHECK_STR(e.file, "x.json");
    }
    struct err e = {0};
    char seq[64];
    CHECK_EQ(walk("[\0]", 3, seq, sizeof seq, &e), ERR_PARSE);
    CHECK_HAS(e.msg, "0x00");
}

static void every_prefix_of_a_text_is_an_error(void)
{
    static const char text[] =
        "{\"a\\u00e9\\ud83d\\ude00\": [-1.5e+3, true, null, \"x\"], \"b\": {}}";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        struct err e = {0};
        char *copy = malloc(n ? n : 1), seq[64]; /* exact size: an over-read is seen by ASan */
        memcpy(copy, text, n);
        CHECK_EQ(walk(copy, n, seq, sizeof seq, &e), ERR_PARSE);
        free(copy);
    }
}

static void depth_is_limited(void)
{
    char text[2 * JSON_MAX_DEPTH + 3], seq[256];
    struct err e = {0};
    memset(text, '[', JSON_MAX_DEPTH);
    memset(text + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
    CHECK_EQ(walk(text, 2 * JSON_MAX_DEPTH, seq, sizeof seq, &e), ERR_OK);
    memset(text, '[', JSON_MAX_DEPTH + 1);
    CHECK_EQ(walk(text, JSON_MAX_DEPTH + 1, seq, sizeof seq, &e), ERR_LIMIT);
    CHECK_EQ(e.col, JSON_MAX_DEPTH + 1);
}

static void strings_and_numbers_have_their_values(void)
{
    static const char text[] = "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20aC\\ud83d\\uDE00"
                               "\xf0\x9f\x98\x80\", -9223372036854775808, 9223372036854775807,"
                               " -0, 0.1, \"a\\u0000b\"]";
    struct json_reader r;
    struct json_token t;
    struct err e = {0};
    json_init(&r, "x", text, sizeof text - 1, 7);
    CHECK_EQ(json_next(&r, &t, &e), ERR_OK);
    CHECK_EQ(json_expect(&r, JSON_STRING, "s", &t, &e), ERR_OK);
    CHECK_STR(t.text, "\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xf0\x9f\x98\x80");
    CHECK_EQ(json_expect(&r, JSON_INT, "i", &t, &e), ERR_OK);
    CHECK_EQ(t.i, INT64_MIN);
    CHECK_EQ(t.line, 7);
    CHECK_EQ(json_expect(&r, JSON_INT, "i", &t, &e), ERR_OK);
    CHECK_EQ(t.i, INT64_MAX);
    CHECK_EQ(json_expect(&r, JSON_DOUBLE, "d", &t, &e), ERR_OK);
    CHECK(t.i == 0 && signbit(t.d));
    CHECK_EQ(json_expect(&r, JSON_DOUBLE, "d", &t, &e), ERR_OK);
    CHECK(t.d == 0.1);
    CHECK_EQ(json_expect(&r, JSON_STRING, "'v'", &t, &e), ERR_SCHEMA);
    CHECK_EQ(t.n, 3);
    CHECK_HAS(e.msg, "'v' holds the character U+0000");
    json_fini(&r);
}

static int members(const char *text, struct err *e)
{
    static const char *const keys[] = {"id", "max", "other", NULL};
    struct json_reader r;
    struct json_token t;
    uint32_t seen = 0;
    int index = 0, order = 0;
    json_init(&r, "m", text, strlen(text), 1);
    int code = json_expect(&r, JSON_OBJECT, "the line", &t, e);
    while (!code) {
        code = json_member(&r, keys, 3, &seen, &index, e);
        if (code || index < 0)
            break;
        order = order * 10 + index + 1;
        code = index == 1 ? json_expect(&r, JSON_INT, "'max'", &t, e) : json_skip(&r, &t, e);
    }
    json_fini(&r);
    return code ? -code : order;
}

static void members_are_known_unique_and_complete(void)
{
    static const struct {
        const char *text;
        int want;
        const char *msg;
    } c[] = {
        {"{\"max\":3,\"id\":[{\"max\":[1,2]}]}", 21, NULL},
        {"{\"other\":{},\"id\":1,\"max\":2}", 312, NULL},
        {"{\"id\":1}", -ERR_SCHEMA, "lacks 'max': add it"},
        {"{}", -ERR_SCHEMA, "lacks 'id', 'max': add them"},
        {"{\"id\":1,\"id\":2}", -ERR_SCHEMA, "'id' comes twice"},
        {"{\"id\":1,\"\\u0069d\":2}", -ERR_SCHEMA, "'id' comes twice"},
        {"{\"ix\":1}", -ERR_SCHEMA, "'ix': expected one of 'id', 'max', 'other'"},
        {"{\"id\\u0000\":1}", -ERR_SCHEMA, "unknown key 'id?'"},
        {"{\"\\u001b[1m0123456789012345678901234567890123456789012345678901234\":1}", -ERR_SCHEMA,
         "unknown key '?[1m01234567890123456789012345678901234567890123456789012...'"},
        {"{\"max\":1.5,\"id\":1}", -ERR_SCHEMA, "'max' is 1.5: expected a whole number"},
        {"{\"max\":\"1\"}", -ERR_SCHEMA, "'max' is the string \"1\": expected a whole number"},
        {"{\"max\":true}", -ERR_SCHEMA, "'max' is true: expected a whole number"},
        {"[]", -ERR_SCHEMA, "the line is an array: expected an object"},
        {"{\"id\":[1", -ERR_PARSE, "the text ends here"},
    };
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        struct err e = {0};
        CHECK_EQ(members(c[i].text, &e), c[i].want);
        if (c[i].msg)
            CHECK_HAS(e.msg, c[i].msg);
    }
}

static void lines_are_counted(void)
{
    static const char text[] = "1\r\n\n  \n2\n 3";
    struct json_lines l;
    struct json_reader r;
    struct json_token t;
    int64_t got = 0;
    json_lines_init(&l, "x", text, sizeof text - 1);
    while (json_lines_next(&l, &r)) {
        struct err e = {0};
        CHECK_EQ(json_expect(&r, JSON_INT, "n", &t, &e), ERR_OK);
        got = got * 100 + t.i * 10 + t.line;
        CHECK_EQ(json_expect(&r, JSON_END, "n", &t, &e), ERR_OK);
        json_fini(&r);
    }
    CHECK_EQ(got, 112435);
}

static void sample(struct json_writer *w)
{
    json_object(w, NULL);
    json_string(w, "s\"", "a\\b\x01\x1f\x7f\n\xc3\xa9\xff\xe2\x82!");
    json_array(w, "n");
    json_int(w, NULL, INT64_MIN);
    json_double(w, NULL, 0.1);
    json_double(w, NULL, 1.0 / 3);
    json_double(w, NULL, 5e-324);
    json_double(w, NULL, -0.0);
    json_double(w, NULL, 1e22);
    json_double(w, NULL, (double)NAN);
    json_double(w, NULL, -(double)INFINITY);
    json_close(w);
    json_object(w, "o");
    json_close(w);
    json_bool(w, "t", true);
    json_bool(w, "f", false);
    json_null(w, "z");
    json_string_n(w, "nul", "a\0b", 3);
    json_close(w);
}

static void the_writer_is_deterministic(void)
{
    static const char want[] =
        "{\"s\\\"\": \"a\\\\b\\u0001\\u001f\x7f\\n\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd!\", "
        "\"n\": [-9223372036854775808, 0.1, 0.3333333333333333, 4.94065645841247e-324, -0.0, "
        "1e+22, "
        "null, null], \"o\": {}, \"t\": true, \"f\": false, \"z\": null, \"nul\": \"a\\u0000b\"}\n";
    struct json_writer w;
    json_writer_init(&w, NULL, 0);
    sample(&w);
    CHECK_EQ(json_line(&w), ERR_OK);
    CHECK_STR(w.data, want);
    CHECK_EQ(w.n, sizeof want - 1);
    json_writer_fini(&w);

    json_writer_init(&w, NULL, 2);
    json_object(&w, NULL);
    json_array(&w, "a");
    json_int(&w, NULL, 1);
    json_int(&w, NULL, 2);
    json_close(&w);
    json_array(&w, "b");
    json_close(&w);
    json_close(&w);
    CHECK_EQ(json_line(&w), ERR_OK);
    CHECK_STR(w.data, "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": []\n}\n");
    json_writer_fini(&w);
}

static void the_writer_and_the_reader_agree(void)
{
    struct json_writer w;
    char seq[64];
    struct err e = {0};
    json_writer_init(&w, NULL, 1);
    sample(&w);
    CHECK_EQ(json_line(&w), ERR_OK);
    CHECK_EQ(walk(w.data, w.n, seq, sizeof seq, &e), ERR_OK);
    CHECK_STR(seq, "{ksk[idddddnn]k{}kbkbknks}.");
    json_writer_fini(&w);
    for (uint64_t i = 1; i < 3000; i++) {
        /* doubles of every exponent and sign */
        uint64_t bits = i * 0x9e3779b97f4a7c15u;
        double v, back;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v))
            continue;
        struct json_reader r;
        struct json_token t;
        json_writer_init(&w, NULL, 0);
        json_double(&w, NULL, v);
        CHECK_EQ(json_line(&w), ERR_OK);
        json_init(&r, "x", w.data, w.n, 1);
        CHECK_EQ(json_expect(&r, JSON_DOUBLE, "v", &t, &e), ERR_OK);
        back = t.d;
        CHECK(memcmp(&back, &v, sizeof v) == 0);
        json_fini(&r);
        json_writer_fini(&w);
    }
}

static void a_full_disk_is_reported(void)
{
    FILE *f = fopen("/dev/full", "wb");
    if (!f) {
        unit_skip("no /dev/full here");
        return;
    }
    struct json_writer w;
    setvbuf(f, NULL, _IONBF, 0);
    json_writer_init(&w, f, 0);
    json_int(&w, NULL, 1);
    CHECK_EQ(json_line(&w), ERR_IO);
    fclose(f);
    struct err e = {0};
    struct io_out o;
    char path[300], part[300];
    scratch_path(path, sizeof path, "disk");
    scratch_path(part, sizeof part, "disk.part");
    CHECK_EQ(io_out_open(&o, path, &e), ERR_OK);
    CHECK(access(part, F_OK) == 0);
    fclose(o.file);
    o.file = fopen("/dev/full", "wb");
    setvbuf(o.file, NULL, _IONBF, 0); /* the write fails, and closing would not */
    fputs("x", o.file);
    CHECK_EQ(io_out_close(&o, true, &e), ERR_IO);
    CHECK_HAS(e.msg, "cannot write");
    CHECK(access(path, F_OK) && access(part, F_OK));
}

static void files_are_read_mapped_and_replaced_whole(void)
{
    char path[300], part[300];
    struct err e = {0};
    scratch_path(path, sizeof path, "file");
    scratch_path(part, sizeof part, "file.part");
    char *data;
    size_t n;
    struct io_map m;
    CHECK_EQ(io_write_file(path, "old", 3, &e), ERR_OK);
    CHECK_EQ(io_write_file(path, "a\0bcd", 5, &e), ERR_OK);
    CHECK(access(part, F_OK) != 0);
    if (!CHECK_EQ(io_read_file(path, 5, &data, &n, &e), ERR_OK))
        return;
    CHECK(n == 5 && !memcmp(data, "a\0bcd", 6));
    free(data);
    CHECK_EQ(io_read_file(path, 4, &data, &n, &e), ERR_LIMIT);
    CHECK_HAS(e.msg, "longer than 4 bytes");
    CHECK_STR(e.file, path);
    e.code = ERR_OK;
    CHECK_EQ(io_map_file(path, &m, &e), ERR_OK);
    CHECK(m.n == 5 && !memcmp(m.data, "a\0bcd", 5));
    io_unmap(&m);

    struct io_out o;
    CHECK_EQ(io_out_open(&o, path, &e), ERR_OK);
    fputs("half", o.file);
    CHECK_EQ(io_out_close(&o, false, &e), ERR_OK);
    CHECK_EQ(io_read_file(path, SIZE_MAX, &data, &n, &e), ERR_OK);
    CHECK_EQ(n, 5);
    free(data);

    CHECK_EQ(io_write_file(path, "", 0, &e), ERR_OK);
    CHECK_EQ(io_map_file(path, &m, &e), ERR_OK);
    CHECK(m.n == 0 && !m.data);
    io_unmap(&m);
    CHECK_EQ(io_read_file(path, 0, &data, &n, &e), ERR_OK);
    CHECK(n == 0 && data[0] == 0);
    free(data);
    unlink(path);
    CHECK_EQ(io_read_file(path, 9, &data, &n, &e), ERR_IO);
    CHECK_HAS(e.msg, "cannot open: No such file");
    e.code = ERR_OK;
    CHECK_EQ(io_map_file("tests", &m, &e), ERR_IO);
    CHECK_HAS(e.msg, "is a directory");
    e.code = ERR_OK;
    CHECK_EQ(io_write_file("no/such/folder/x", "", 0, &e), ERR_IO);
    CHECK_STR(e.file, "no/such/folder/x.part");
    e.code = ERR_OK;
    CHECK_EQ(io_map_file("/dev/null", &m, &e), ERR_IO);
    CHECK_HAS(e.msg, "not a regular file");
}

/* 'f'ile, 'l'ink, 'p'ipe; 0 for nothing there, '?' for another. */
static char kind_of(const char *path)
{
    struct stat st;
    if (lstat(path, &st))
        return 0;
    return S_ISREG(st.st_mode) ? 'f' : S_ISLNK(st.st_mode) ? 'l' : S_ISFIFO(st.st_mode) ? 'p' : '?';
}

/* A reader of a pipe without a writer would wait for ever: the alarm ends such a test. */
static void a_pipe_is_no_input(void)
{
    char path[300];
    char *data = NULL;
    size_t n = 0;
    struct io_map m;
    FILE *f;
    struct err e = {0};
    /* a regular file of size 0 with much to read */
    if (!access("/proc/self/smaps", R_OK) &&
        CHECK_EQ(io_read_file("/proc/self/smaps", SIZE_MAX, &data, &n, &e), ERR_OK)) {
        CHECK(n > 4096 && strlen(data) == n);
        free(data);
    }
    scratch_path(path, sizeof path, "fifo");
    unlink(path);
    if (!CHECK(mkfifo(path, 0600) == 0))
        return;
    alarm(20);
    CHECK_EQ(io_read_file(path, SIZE_MAX, &data, &n, &e), ERR_IO);
    CHECK_HAS(e.msg, "is a named pipe, not a regular file: save its content as a file");
    CHECK_STR(e.file, path);
    CHECK_EQ(io_map_file(path, &m, NULL), ERR_IO);
    CHECK_EQ(io_open(path, &f, NULL), ERR_IO);
    alarm(0);
    unlink(path);
    CHECK_EQ(io_write_file(path, "ab", 2, NULL), ERR_OK);
    if (CHECK_EQ(io_open(path, &f, NULL), ERR_OK)) {
        CHECK(getc(f) == 'a' && getc(f) == 'b' && getc(f) == EOF);
        fclose(f);
    }
    unlink(path);
}

static void an_output_replaces_regular_files_only(void)
{
    char path[300], part[300], link[300];
    struct err e = {0};
    scratch_path(path, sizeof path, "pipe");
    scratch_path(part, sizeof part, "pipe.part");
    scratch_path(link, sizeof link, "link");
    unlink(path);
    unlink(link);
    if (!CHECK(mkfifo(path, 0600) == 0 && symlink(strrchr(path, '/') + 1, link) == 0))
        return;
    alarm(20);
    CHECK_EQ(io_write_file(path, "x", 1, &e), ERR_IO);
    CHECK_HAS(e.msg, "is a named pipe: an output would replace it");
    CHECK_STR(e.file, path);
    CHECK_EQ(io_write_file(link, "x", 1, NULL), ERR_IO);
    CHECK(kind_of(path) == 'p' && kind_of(link) == 'l' && !kind_of(part));
    unlink(path);
    CHECK(mkdir(path, 0700) == 0);
    e = (struct err){0};
    CHECK_EQ(io_write_file(path, "x", 1, &e), ERR_IO);
    CHECK_HAS(e.msg, "is a directory: an output would replace it");
    CHECK_EQ(kind_of(part), 0);
    rmdir(path);
    unlink(link);
    CHECK(symlink(link, link) == 0);
    e = (struct err){0};
    CHECK_EQ(io_write_file(link, "x", 1, &e), ERR_IO);
    CHECK_HAS(e.msg, "cannot follow: ");
    CHECK(mkfifo(part, 0600) == 0);
    e = (struct err){0};
    CHECK_EQ(io_write_file(path, "x", 1, &e), ERR_IO);
    CHECK_HAS(e.msg, "is a named pipe where a file would be written");
    CHECK_STR(e.file, part);
    CHECK(kind_of(part) == 'p' && !kind_of(path));
    alarm(0);
    unlink(part);
    unlink(link);
}

static void a_link_stays_and_its_file_is_replaced(void)
{
    char path[300], link[300], far[300];
    char *data = NULL;
    size_t n = 0;
    scratch_path(path, sizeof path, "linked");
    scratch_path(link, sizeof link, "link");
    scratch_path(far, sizeof far, "far");
    unlink(link);
    unlink(far);
    /* far, by its whole path, to link, by its name alone, to a file that is not there yet */
    if (!CHECK(symlink(strrchr(path, '/') + 1, link) == 0 && symlink(link, far) == 0))
        return;
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(io_write_file(far, i ? "new" : "old", 3, NULL), ERR_OK);
        CHECK(kind_of(far) == 'l' && kind_of(link) == 'l' && kind_of(path) == 'f');
        if (CHECK_EQ(io_read_file(far, 9, &data, &n, NULL), ERR_OK)) {
            CHECK_STR(data, i ? "new" : "old");
            free(data);
        }
    }
    unlink(far);
    unlink(link);
    unlink(path);
}

static const struct unit_test tests[] = {
    {"reads_every_kind_of_value", reads_every_kind_of_value},
    {"rejects_what_is_not_json", rejects_what_is_not_json},
    {"every_prefix_of_a_text_is_an_error", every_prefix_of_a_text_is_an_error},
    {"depth_is_limited", depth_is_limited},
    {"strings_and_numbers_have_their_values", strings_and_numbers_have_their_values},
    {"members_are_known_unique_and_complete", members_are_known_unique_and_complete},
    {"lines_are_counted", lines_are_counted},
    {"the_writer_is_deterministic", the_writer_is_deterministic},
    {"the_writer_and_the_reader_agree", the_writer_and_the_reader_agree},
    {"a_full_disk_is_reported", a_full_disk_is_reported},
    {"files_are_read_mapped_and_replaced_whole", files_are_read_mapped_and_replaced_whole},
    {"a_pipe_is_no_input", a_pipe_is_no_input},
    {"an_output_replaces_regular_files_only", an_output_replaces_regular_files_only},
    {"a_link_stays_and_its_file_is_replaced", a_link_stays_and_its_file_is_replaced},
    {NULL, NULL},
};

UNIT_MAIN("json", tests)
