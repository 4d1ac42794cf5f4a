#!/bin/sh
# Builds and runs every test, in stages.
#
#   sh tests/run.sh [--long] [STAGE...]
#
# Stages, in this order: packages llama checks release clang debug asan tsan fuzz sim real. Named
# ones run alone. debug only builds. --long fuzzes for longer, runs the tests of the real engine
# under Clang and the sanitizers too, and those of debug.
#
# The last line is "N passed, N failed" and, where there are any, ", N skipped": these are named
# above it. A stage that does not build is one failure, and the others go on. With CI=true a skip is
# a failure, unless its reason begins with "this machine": the set-up installs all else that a test
# can want. What ctest printed is in build*/ctest.log.
#
# Labels of tests (set_tests_properties(... LABELS ...)): `real` needs llama.cpp and the weights and
# runs in the stage real; `tsan` runs under the thread sanitizer; `tree` looks at the sources only
# and runs in the stage checks; `once` computes for long and runs in the stage sim only, where it
# shows that it needs neither a model nor a network; what has none runs in release, clang, asan.
set -u
cd "$(dirname "$0")/.." || exit 2

jobs=${TANDEM_JOBS:-$(nproc)}
deps=${TANDEM_DEPS:-$HOME/.cache/tandem}
long=
fuzz_seconds=90 # over all targets, as many of which run at once as there are cores
wanted=
for argument in "$@"; do
    case $argument in
    --long) long=1 fuzz_seconds=3600 ;;
    -*)
        sed -n '4s/^#  *//p' "$0" >&2
        exit 2
        ;;
    *) wanted="$wanted $argument" ;;
    esac
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/skips"
passed=0
failed=0
skipped=0

# Says what was tried, and shows the end of its output where it failed: attempt LOG COMMAND...
attempt()
{
    log=$1
    shift
    "$@" >"$log" 2>&1 && return
    printf '  failed: %s\n' "$*"
    grep -v '^\[[0-9]*/[0-9]*\]' "$log" | tail -n 40 | sed 's/^/  | /'
    return 1
}

pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); }

# one COMMAND...: a command that is a test by itself
one()
{
    if attempt "$work/one.log" "$@"; then pass; else fail; fi
}

# Adds up what ctest -V printed. A suite's own last line counts; a test that has none, or that fails
# in spite of it (a crash, a leak, a timeout), counts as one. Prints "P F S", then for people: what
# failing tests printed, and "skip: SUITE: TEST: REASON".
sum_ctest()
{
    awk -v ci="${CI:-}" '
    # "12: text" is a line of test 12
    match($0, /^[0-9]+: /) {
        id = substr($0, 1, RLENGTH - 2)
        text = substr($0, RLENGTH + 1)
        output[id] = output[id] "  | " text "\n"
        if (text ~ /^[^ ]+: [0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/) {
            last[id] = text
            sub(/^[^ ]+: /, "", last[id])
        } else if (text ~ /^skipped: /)
            skips[id, ++nskips[id]] = substr(text, 10)
        next
    }
    match($0, /^ *[0-9]+\/[0-9]+ Test +#[0-9]+: /) {
        line = $0
        sub(/^[^#]*#/, "", line)
        id = line + 0
        sub(/^[0-9]+: /, "", line)
        name = line
        sub(/ .*/, "", name)
        split(id in last ? last[id] : "0 passed, 0 failed, 0 skipped", n, " ")
        good = line ~ /[^*]Passed +[0-9.]+ sec/
        if (line ~ /\*\*\*Skipped/) {
            n[5] += !n[5]
            good = 1
            if (!nskips[id])
                skips[id, ++nskips[id]] = "no reason given"
        }
        if (good && n[1] + n[3] + n[5] == 0)
            n[1] = 1
        if (!good && n[3] == 0)
            n[3] = 1
        if (!good || n[3] > 0)
            report = report "  failed: " name ": " status(line) "\n" tail(output[id])
        for (i = 1; i <= nskips[id]; i++)
            if (ci == "true" && skips[id, i] !~ /(^|: )this machine/) {
                n[3] += n[5] > 0
                n[5] -= n[5] > 0
                report = report "  failed: " name ": skipped in CI: " skips[id, i] "\n"
            } else
                report = report "skip: " name ": " skips[id, i] "\n"
        p += n[1]; f += n[3]; s += n[5]; tests++
    }
    function status(line)
    {
        sub(/^[^ ]+ \.* *\**/, "", line)
        return line
    }
    function tail(text,    n, lines, i, out)
    {
        n = split(text, lines, "\n")
        for (i = n > 61 ? n - 60 : 1; i < n; i++)
            out = out lines[i] "\n"
        return out
    }
    END {
        if (!tests) {
            f++
            report = report "  failed: no test ran\n"
        }
        printf "%d %d %d\n%s", p, f, s, report
    }' "$1"
}

# count_ctest STAGE DIR ctest-arguments...
count_ctest()
{
    stage=$1
    dir=$2
    shift 2
    $wrapper ctest --test-dir "$dir" -V -j "$parallel" --timeout 600 --no-tests=ignore "$@" \
        >"$dir/ctest.log" 2>&1
    sum_ctest "$dir/ctest.log" >"$work/sum"
    read -r p f s <"$work/sum"
    sed -n "s/^skip: /$stage: /p" "$work/sum" >>"$work/skips"
    sed '1d; /^skip: /d' "$work/sum"
    printf '  %d passed, %d failed, %d skipped\n' "$p" "$f" "$s"
    passed=$((passed + p))
    failed=$((failed + f))
    skipped=$((skipped + s))
}

# build PRESET
build()
{
    attempt "$work/configure.log" cmake --preset "$1" &&
        attempt "$work/build.log" cmake --build --preset "$1" -j "$jobs"
}

# build_and_test STAGE PRESET DIR ctest-arguments...
build_and_test()
{
    stage=$1
    preset=$2
    dir=$3
    shift 3
    if build "$preset"; then count_ctest "$stage" "$dir" "$@"; else fail; fi
}

stage_packages() { sh experiments/setup.sh packages test || fail; }

stage_llama()
{
    sh experiments/setup.sh llama >"$work/llama-dir" || fail
    sh experiments/setup.sh model >/dev/null || fail
}

stage_checks()
{
    one sh tests/check_includes.sh
    one sh tests/check_tree.sh
    one sh tests/test_checks.sh
}

not_real='^(tree|real|once)$'
[ -z "$long" ] || not_real='^tree$'

stage_release() { build_and_test release release build -LE '^(tree|real|once)$'; }
stage_clang() { build_and_test clang clang build-clang -LE "$not_real"; }

# Without optimisation other code is warned of; what it does is tested when there is time.
stage_debug()
{
    if [ "$long" ]; then build_and_test debug debug build-debug -LE "$not_real"; else one build debug; fi
}

# The shadow of large blocks is written and not mapped anew, page fault after page fault.
stage_asan()
{
    wrapper="env ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}clear_shadow_mmap_threshold=1073741824"
    build_and_test asan asan build-asan -LE "$not_real"
}

# The thread sanitizer of these compilers does not get along with the address randomisation of some
# kernels; where it can be switched off for a process, that is done.
stage_tsan()
{
    ! setarch "$(uname -m)" -R true 2>/dev/null || wrapper="setarch $(uname -m) -R"
    build_and_test tsan tsan build-tsan -L '^tsan$'
}

# fuzz NAME: leaves $work/NAME.log, and .passed
fuzz()
{
    mkdir -p "$work/corpus/$1"
    attempt "$work/$1.log" "build-fuzz/tests/fuzz/fuzz_$1" -seed=1 -max_total_time=$((fuzz_seconds / n)) \
        -timeout=10 -rss_limit_mb=1024 -artifact_prefix="build-fuzz/$1-" -print_final_stats=1 \
        "$work/corpus/$1" "tests/fuzz/corpus/$1" && touch "$work/$1.passed"
}

stage_fuzz()
{
    build fuzz || {
        fail
        return
    }
    targets=$(find build-fuzz/tests/fuzz -maxdepth 1 -type f -name 'fuzz_*' -perm -u+x | sort)
    n=$(printf '%s' "$targets" | grep -c .)
    [ "$n" = "$(find tests/fuzz -name 'fuzz_*.c' | grep -c .)" ] || {
        echo "  failed: not every tests/fuzz/fuzz_*.c is in tests/fuzz/CMakeLists.txt"
        fail
    }
    names=
    for target in $targets; do
        name=${target##*/fuzz_}
        if [ -d "tests/fuzz/corpus/$name" ]; then
            names="$names $name"
        else
            echo "  failed: fuzz_$name has no seeds in tests/fuzz/corpus/$name"
            fail
        fi
    done
    running=0
    for name in $names; do # each takes equally long
        fuzz "$name" >"$work/$name.said" &
        running=$((running + 1))
        [ $((running % jobs)) != 0 ] || wait
    done
    wait
    for name in $names; do
        cat "$work/$name.said"
        if [ -e "$work/$name.passed" ]; then pass; else fail; fi
        printf '  fuzz_%s: %s inputs\n' "$name" \
            "$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$name.log")"
    done
}

# The simulator alone: no model, no llama.cpp, and where the kernel lets us, no network.
stage_sim()
{
    export TANDEM_DEPS="$work/none"
    unset TANDEM_LLAMA_DIR
    ! unshare -rn true 2>/dev/null || wrapper='unshare -rn'
    build sim || {
        fail
        return
    }
    # shellcheck disable=SC2086 # the wrapper is none or several words
    one $wrapper build-sim/tandem run experiments/quickstart.yaml
    count_ctest sim build-sim -L '^once$'
}

stage_real()
{
    build release || {
        fail
        return
    }
    sh experiments/setup.sh quantise build/tandem-device >/dev/null || fail
    parallel=1 # the engine itself takes every core
    count_ctest real build -L '^real$'
}

# run_stage NAME: with its time. What a stage changes for itself is put back after it.
run_stage()
{
    printf '==> %s\n' "$1"
    since=$(date +%s)
    wrapper=
    parallel=$((jobs + 1)) # some tests wait for their own threads
    export TANDEM_DEPS="$deps"
    if [ -s "$work/llama-dir" ]; then
        TANDEM_LLAMA_DIR=$(cat "$work/llama-dir")
        export TANDEM_LLAMA_DIR
    fi
    "stage_$1"
    printf '==> %s: %d s\n' "$1" $(($(date +%s) - since))
}

begun=$(date +%s)
all="packages llama checks release clang debug asan tsan fuzz sim real"
for stage_name in ${wanted:-$all}; do
    case " $all " in
    *" $stage_name "*) run_stage "$stage_name" ;;
    *)
        printf "run.sh: no stage '%s'; there are: %s\n" "$stage_name" "$all" >&2
        exit 2
        ;;
    esac
done

printf '==> all: %d s\n' $(($(date +%s) - begun))
sed 's/^/skipped: /' "$work/skips"
total="$passed passed, $failed failed"
[ "$skipped" = 0 ] || total="$total, $skipped skipped"
printf '%s\n' "$total"
[ "$failed" = 0 ]
