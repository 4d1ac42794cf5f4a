/* The test harness: CUnit under ctest.
 *
 * A suite is one file with a static table and `UNIT_MAIN("name", tests)`; its CMake line is
 * tandem_test(name). `build/tests/test_NAME TEST` runs one test of it. The last line printed is
 * "NAME: N passed, N failed, N skipped", which tests/run.sh adds up. */
#ifndef TANDEM_TESTS_UNIT_H
#define TANDEM_TESTS_UNIT_H

#include <stdbool.h>
#include <stdint.h>

struct unit_test {
    const char *name;
    void (*run)(void);
};

int unit_main(int argc, char **argv, const char *suite, const struct unit_test *tests);

/* Each records a failure and goes on; the result says whether it held, for early returns. */
bool unit_true(bool ok, const char *what, const char *file, int line);
bool unit_eq(int64_t got, int64_t want, const char *what, const char *file, int line);
bool unit_near(double got, double want, double tolerance, const char *what, const char *file,
               int line);
bool unit_str(const char *got, const char *want, const char *what, const char *file, int line);
/* got contains want */
bool unit_has(const char *got, const char *want, const char *what, const char *file, int line);

/* Marks the running test as skipped, with the reason; return from it afterwards. */
void unit_skip(const char *reason);

#define CHECK(x)             unit_true((x), #x, __FILE__, __LINE__)
#define CHECK_EQ(got, want)  unit_eq((int64_t)(got), (int64_t)(want), #got, __FILE__, __LINE__)
#define CHECK_NEAR(g, w, t)  unit_near((g), (w), (t), #g, __FILE__, __LINE__)
#define CHECK_STR(got, want) unit_str((got), (want), #got, __FILE__, __LINE__)
#define CHECK_HAS(got, want) unit_has((got), (want), #got, __FILE__, __LINE__)

#define UNIT_MAIN(suite, tests)                                                                    \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return unit_main(argc, argv, (suite), (tests));                                            \
    }

#endif
