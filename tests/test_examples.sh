#!/bin/sh
# Runs every example of --help and of the READMEs.
#
#   sh tests/test_examples.sh BUILD_DIR [real]
#
# Of --help: the lines "Example: tandem ...". Of README.md and the folders' READMEs: in blocks that
# are fenced as `sh`, the commands of lines "$ build/tandem ..." (or build-sim/, or tandem-device),
# which a backslash continues. Each must exit 0. They run in a scratch folder that has the sources'
# data, in the order in which they stand, --help's first: later ones may use what earlier ones wrote.
#
# Those that need a model, "Example (needs a model): ..." and blocks fenced as `sh real`, are run
# with `real`, and the others without.
set -u
build=$(cd "${1:?usage: test_examples.sh BUILD_DIR [real]}" && pwd) || exit 2
real=${2:-}
cd "$(dirname "$0")/.." || exit 2
root=$PWD
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
name=examples${real:+_real}
passed=0
failed=0

if [ "$real" ]; then
    model=${TANDEM_MODEL:-${TANDEM_DEPS:-$HOME/.cache/tandem}/models/SmolLM2-135M-Instruct.pure-Q4_0.gguf}
    if [ ! -e "$model" ]; then
        echo "skipped: model: experiments/setup.sh did not make $(basename "$model")"
        echo "$name: 0 passed, 0 failed, 1 skipped"
        exit 0
    fi
fi

# The examples, one per line, each from the program's name on.
{
    for program in tandem tandem-device; do
        "$build/$program" --help | sed -n 's/^  \([a-z][a-z]*\)  *.*/\1/p' | while read -r command; do
            "$build/$program" "$command" --help
        done | if [ "$real" ]; then
            sed -n 's/^Example (needs a model): //p'
        else
            sed -n 's/^Example: //p'
        fi
    done
    for file in README.md */README.md */*/README.md; do
        [ ! -e "$file" ] || cat "$file"
    done | awk -v want="sh${real:+ real}" '
        /^```/ { inside = !inside && substr($0, 4) == want; next_is = 0; next }
        !inside { next }
        next_is || sub(/^\$ build[-a-z]*\//, "") {
            next_is = /\\$/
            sub(/\\$/, "")
            printf "%s%s", $0, next_is ? " " : "\n"
        }'
} >"$scratch/examples"

mkdir "$scratch/run" "$scratch/run/traces"
cp -R experiments hwmodels README.md "$scratch/run" 2>/dev/null
cp -R traces/workloads "$scratch/run/traces"
cp traces/*.trace "$scratch/run/traces" 2>/dev/null ||
    "$build/tests/make_trace" "$scratch/run/traces/quickstart.trace"
cd "$scratch/run" || exit 2
ln -s "$build" build

while IFS= read -r line; do
    if (eval "build/$line") >../log 2>&1 </dev/null; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'failed: %s\n' "$line"
        sed 's/^/  | /' ../log | tail -n 20
    fi
done <"$scratch/examples"
cd "$root" || exit 2

if [ $((passed + failed)) = 0 ]; then
    echo "no example was found"
    failed=1
fi
printf '%s: %d passed, %d failed, 0 skipped\n' "$name" "$passed" "$failed"
[ "$failed" = 0 ]
