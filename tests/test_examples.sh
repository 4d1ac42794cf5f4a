#!/bin/sh
# Runs every example of --help and of the READMEs.
#
#   sh tests/test_examples.sh BUILD_DIR [real]
#
# Of --help: the lines "Example: tandem ...". Of README.md and the folders' READMEs: in blocks that
# are fenced as `sh`, the commands of lines "$ build/tandem ..." (or build-sim/, or tandem-device),
# which a backslash continues. Each must exit 0. They run in a scratch folder that has the sources'
# data, in the order in which they stand, --help's first: later ones may use what earlier ones wrote.
# What stands in several places is run once.
#
# Those that need a model, "Example (needs a model): ..." and blocks fenced as `sh real`, are run
# with `real`, and the others without.
set -u
build=${1:?usage: test_examples.sh BUILD_DIR [real]}
real=${2:-}
cd "$(dirname "$0")/.." || exit 2
suite=examples${real:+_real}
stdout=../log # of the example, and not of one program
. tests/shell.sh
[ -z "$real" ] || installed_model
mkdir run
cd run || exit 2
data recorded
cp "$root/README.md" .
ln -s "$build" build

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
    cat "$root"/README.md "$root"/*/README.md "$root"/*/*/README.md | awk -v want="sh${real:+ real}" '
        /^```/ { inside = !inside && substr($0, 4) == want; next_is = 0; next }
        !inside { next }
        next_is || sub(/^\$ build[-a-z]*\//, "") {
            next_is = /\\$/
            sub(/\\$/, "")
            printf "%s%s", $0, next_is ? " " : "\n"
        }'
} | awk '!seen[$0]++' >../examples

while IFS= read -r line; do
    if (eval "build/$line") >../log 2>&1 </dev/null; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'failed: %s\n' "$line"
        sed 's/^/  | /' ../log | tail -n 20
    fi
done <../examples

ok 'no example was found' [ $((passed + failed)) != 0 ]
finish
