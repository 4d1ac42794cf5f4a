#!/bin/sh
# What holds for every file of the project: its place, its length, and words that must not be in it.
#
#   sh tests/check_tree.sh [ROOT]
set -eu
cd "${1:-$(dirname "$0")/..}"

top='sim hwmodels traces experiments analysis tests'
top="$top CMakeLists.txt README.md CMakePresets.json LICENSE"
max_lines=1000

# Patterns are written so that they do not match their own line.
host_path='(^|[^A-Za-z0-9._}-])/(wor[k]|roo[t]|tm[p]|hom[e])/[A-Za-z0-9]'
registry='(pyp[i]\.org|pythonhoste[d]\.|npmj[s]\.|crate[s]\.io|deb\.debia[n]\.|archive\.ubunt[u]\.)'
unfinished='(^|[^A-Za-z])(TOD[O]|FIXM[E])([^A-Za-z]|$)'

# Without git (an archive of the sources) what was built is left out by name.
files()
{
    if git ls-files -co --exclude-standard 2>/dev/null | grep -q .; then
        git ls-files -co --exclude-standard
    else
        find . -type f ! -path './.git/*' ! -path './build*' ! -path './out/*' | sed 's,^\./,,'
    fi
}

# Prompts, seeds of the fuzzers and data are not ours to phrase.
is_text()
{
    case $1 in
    tests/fuzz/corpus/*) return 1 ;;
    *.c | *.h | *.sh | *.cmake | *.txt | *.md | *.json | *.yaml | *.sql | *.gp | .*) return 0 ;;
    esac
    return 1
}

failed=0
complain()
{
    printf '%s\n' "$1"
    failed=$((failed + 1))
}

# forbid FILE PATTERN WHY
forbid()
{
    hits=$(grep -nE -e "$2" "$1" /dev/null | sed "s/^\\([^:]*:[0-9]*\\):.*/\\1: $3/") || return 0
    [ -z "$hits" ] || complain "$hits"
}

list=$(files | LC_ALL=C sort)
[ -n "$list" ] || complain "no file found: wrong folder?"
for entry in $(printf '%s\n' "$list" | cut -d / -f 1 | uniq); do
    case " $top " in
    *" $entry "*) continue ;;
    esac
    case $entry in
    .*) ;;
    *) complain "$entry: the top level is fixed: $top" ;;
    esac
done
while IFS= read -r file; do
    if [ ! -f "$file" ] || ! is_text "$file"; then
        continue
    fi
    lines=$(wc -l <"$file")
    [ "$lines" -le "$max_lines" ] || complain "$file:$lines: longer than $max_lines lines"
    forbid "$file" "$host_path" "a path of one machine"
    forbid "$file" "$registry" "a package registry's host name"
    forbid "$file" "$unfinished" "unfinished work: do it or write an issue"
done <<END
$list
END

if [ "$failed" = 0 ]; then
    echo "tree: 1 passed, 0 failed, 0 skipped"
else
    echo "tree: 0 passed, 1 failed, 0 skipped"
    exit 1
fi
