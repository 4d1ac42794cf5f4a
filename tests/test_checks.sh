#!/bin/sh
# The checks can fail: each rule is broken once in a copy of the tree, and must be reported.
#
#   sh tests/test_checks.sh
set -eu
cd "$(dirname "$0")/.."

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
passed=0
failed=0

# The copy has one file per folder: enough for the rules, and independent of the project's state.
for folder in sim/base sim/core sim/draft sim/policy sim/exec hwmodels/fit hwmodels/real traces \
    experiments analysis/internal tests; do
    mkdir -p "$tree/$folder"
    echo '#include <stdint.h>' >"$tree/$folder/a.h"
done

# expect WANT GOT: GOT is what a check printed; its first line must hold WANT
expect()
{
    case $(printf '%s\n' "$2" | sed 1q) in
    *"$1"*) passed=$((passed + 1)) ;;
    *)
        printf 'expected "%s" in: %s\n' "$1" "$2"
        failed=$((failed + 1))
        ;;
    esac
}

# includes FILE LINE OUTCOME: a file with this one line passes (ok) or is named with its line
includes()
{
    printf '\n%s\n' "$2" >"$tree/$1"
    got=$(sh tests/check_includes.sh "$tree") && status=0 || status=$?
    rm "$tree/$1"
    case $3,$status in
    ok,0) expect "includes: 1 passed, 0 failed" "$got" ;;
    bad,1) expect "$1:2: " "$got" ;;
    *) expect "$3" "exit $status for $1: $2" ;;
    esac
}

includes sim/base/b.c '#include <yaml.h>' ok
includes sim/base/b.c '#include "sim/core/a.h"' bad
includes sim/core/b.c '#include <yaml.h>' bad
includes sim/core/b.c '#include <linux/futex.h>' bad
includes sim/core/b.c '#  include "sim/exec/exec.h"' bad
includes sim/core/b.c '#include "a.h"' bad
includes sim/core/b.c '#include HEADER' bad
includes sim/draft/oracle.c '#include "sim/exec/truth.h"' ok
includes sim/draft/lookup.c '#include "sim/exec/truth.h"' bad
includes sim/policy/optimal.c '#include "sim/exec/cost.h"' ok
includes sim/policy/b.c '#include "sim/exec/cost.h"' bad
includes sim/policy/b.c '#include "sim/exec/exec.h"' ok
includes sim/exec/b.c '#include "sim/policy/a.h"' ok
includes sim/exec/b.c '#include "hwmodels/table.h"' bad
includes hwmodels/b.c '#include "hwmodels/real/a.h"' bad
includes hwmodels/b.c '#include <gsl/gsl_fit.h>' bad
includes hwmodels/fit/b.c '#include <gsl/gsl_fit.h>' ok
includes hwmodels/real/b.c '#include <llama.h>' ok
includes hwmodels/real/b.c '#include "sim/exec/engine.h"' ok
includes hwmodels/real/b.c '#include "sim/exec/cost.h"' bad
includes experiments/b.c '#include <llama.h>' bad
includes experiments/b.c '#include <sqlite3.h>' ok
includes experiments/b.c '#include "analysis/internal/a.h"' bad
includes traces/b.c '#include <sqlite3.h>' bad
includes traces/b.c '#include <CUnit/Basic.h>' bad
includes tests/b.c '#include "analysis/internal/a.h"' ok

# tree_has FILE TEXT WANT: one more file, and what its check says of it (nothing: it passes)
tree_has()
{
    mkdir -p "$(dirname "$tree/$1")"
    printf '%b' "$2" >"$tree/$1"
    got=$(sh tests/check_tree.sh "$tree") && status=0 || status=$?
    rm "$tree/$1"
    rmdir "$(dirname "$tree/$1")" 2>/dev/null || true
    expect "${3:-tree: 1 passed}" "$got"
    expect "$([ -n "$3" ] && echo 1 || echo 0)" "$status"
}

# In variables, so that this file itself passes.
work=work tmp=tmp root=root pypi=pypi todo=TO
tree_has sim/b.md 'a/work/b and the framework/work\n' ''
tree_has sim/b.md "\\nsee /$work/x\\n" 'sim/b.md:2: a path of one machine'
tree_has sim/b.c "f(\"/$tmp/x\")\\n" 'sim/b.c:1: a path of one machine'
tree_has sim/b.sh "curl https://${pypi}.org\\n" "sim/b.sh:1: a package registry's host name"
tree_has sim/b.c "/* ${todo}DO */\\n" 'sim/b.c:1: unfinished work'
tree_has sim/b.c "$(seq -s '\n' 1000)\\n" ''
tree_has sim/b.c "$(seq -s '\n' 1001)\\n" 'sim/b.c:1001: longer than 1000 lines'
tree_has docs/b.md '\n' 'docs: the top level is fixed'
tree_has tests/fuzz/corpus/x/b.txt "/$root/x\\n" ''

# pure CODE WANT: as the policies' library
pure()
{
    mkdir -p "$tree/build/sim/draft" "$tree/build/sim/policy"
    printf '%s\n' "$1" >"$tree/p.c"
    echo 'extern int hash_a, hash_b, hash_c, own; int d(void); int d(void)
        { return hash_a + hash_b + hash_c + own; }' >"$tree/d.c"
    for library in policy draft; do
        rm -f "$tree/build/sim/$library/libtandem_$library.a"
        "${CC:-cc}" -w -c -o "$tree/o.o" "$tree/$(echo $library | cut -c 1).c"
        ar rc "$tree/build/sim/$library/libtandem_$library.a" "$tree/o.o"
    done
    got=$(sh tests/check_purity.sh "$tree/build") && status=0 || status=$?
    expect "${2:-purity: 1 passed}" "$got"
    expect "$([ -n "$2" ] && echo 1 || echo 0)" "$status"
}

pure 'int own; void *memcpy(); void f(void *a) { memcpy(a, a, 7u + own); }' ''
pure 'int own; void *malloc(); void *f(void) { return malloc(3); }' 'pure symbols: malloc'
pure 'int own; int clock_gettime(); int f(void) { return clock_gettime(); }' ': clock_gettime'
pure 'int own; int rand(); int f(void) { return rand(); }' ': rand'
pure 'int own; int printf(); int f(void) { return printf("%d", 3); }' ': printf'
pure 'int other;' 'pure symbols: own'
rm "$tree/build/sim/draft/libtandem_draft.a"
got=$(sh tests/check_purity.sh "$tree/build") || true
expect 'libtandem_draft.a: is not built' "$got"

printf 'checks: %d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" = 0 ]
