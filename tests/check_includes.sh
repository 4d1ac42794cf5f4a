#!/bin/sh
# The arrows between the folders: every #include line against the table below.
#
#   sh tests/check_includes.sh [ROOT]
set -eu
cd "${1:-$(dirname "$0")/..}"

# One line per folder (or file: it adds to its folder's line, as `+`). An entry is a folder, whose
# own headers are meant and not those of folders below it; a folder and `/...`, with all below it;
# a header. After the bar: headers of third parties, with `/...` for all of a directory. A folder
# without a line of its own has the line of the one above. A folder may always include itself.
# The real executors also take sim/exec/engine.h: the contract between them and their engines.
table='
sim/base       : | yaml.h
sim/core       : sim/base |
sim/llm        : sim/base |
sim/draft      : sim/base |
+ sim/draft/oracle.c   : sim/exec/truth.h |
+ sim/draft/parametric.c : sim/exec/truth.h |
sim/policy     : sim/base sim/llm sim/draft sim/exec/exec.h |
+ sim/policy/optimal.c : sim/exec/cost.h sim/exec/truth.h |
sim/exec       : sim/... |
hwmodels       : sim/base sim/core sim/llm sim/exec/exec.h sim/exec/cost.h |
hwmodels/fit   : hwmodels sim/base sim/core sim/llm sim/exec/exec.h sim/exec/cost.h | gsl/...
hwmodels/real  : sim/base sim/llm sim/draft sim/exec/exec.h sim/exec/engine.h | llama.h ggml.h ggml-backend.h ggml-cpu.h gguf.h
+ hwmodels/real/attention_kernel.c : | immintrin.h
+ hwmodels/real/f16_kernel.c : | immintrin.h
+ hwmodels/real/q4_kernel.c : | immintrin.h
+ hwmodels/real/q4_kernel_avx512.c : | immintrin.h
traces         : sim/base sim/exec/exec.h sim/exec/log.h |
experiments    : sim/... hwmodels/... traces/... analysis | sqlite3.h
analysis       : sim/base | sqlite3.h gsl/...
tests          : sim/... hwmodels/... traces/... experiments/... analysis/... tests/... | CUnit/... yaml.h sqlite3.h gsl/... llama.h ggml.h ggml-backend.h gguf.h
'

# C11 and POSIX: open to everyone.
system='
assert.h complex.h ctype.h errno.h fenv.h float.h inttypes.h iso646.h limits.h locale.h math.h
setjmp.h signal.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h
stdnoreturn.h string.h tgmath.h threads.h time.h uchar.h wchar.h wctype.h
dirent.h dlfcn.h fcntl.h ftw.h fnmatch.h glob.h libgen.h poll.h pthread.h regex.h sched.h
semaphore.h spawn.h strings.h sys/mman.h sys/resource.h sys/socket.h sys/stat.h sys/statvfs.h
sys/time.h sys/types.h sys/uio.h sys/un.h sys/utsname.h sys/wait.h unistd.h
'

folders='sim hwmodels traces experiments analysis tests'
# shellcheck disable=SC2086 # one word per folder
find $folders -type f \( -name '*.[ch]' -o -name '*.cc' -o -name '*.cpp' \) | LC_ALL=C sort |
    TABLE=$table SYSTEM=$system awk '
function dirname(path)
{
    return match(path, /\/[^\/]*$/) ? substr(path, 1, RSTART - 1) : "."
}
# does one of the space-separated entries name this header?
function allowed(entries, header,    n, i, e, list)
{
    n = split(entries, list, " ")
    for (i = 1; i <= n; i++) {
        e = list[i]
        if (e == header || e == dirname(header))
            return 1
        if (e ~ /\/\.\.\.$/ && index(header, substr(e, 1, length(e) - 3)) == 1)
            return 1
    }
    return 0
}
function check(path, line_number, header, third,    folder, ours, theirs, rule)
{
    for (folder = dirname(path); !(folder in own) && folder != "."; folder = dirname(folder))
        ;
    if (folder == ".") {
        printf "%s:%d: the folder has no line in tests/check_includes.sh\n", path, line_number
        return 1
    }
    ours = own[folder] " " folder " " dirname(path) " " own[path]
    theirs = foreign[folder] " " foreign[path]
    if (!third && allowed(ours, header))
        return 0
    if (third && ((header in is_system) || allowed(theirs, header)))
        return 0
    rule = third ? "<" header ">: " folder " may include of third parties:" theirs \
                 : "\"" header "\": " folder " may include:" own[folder] " " folder
    gsub(/ +/, " ", rule)
    sub(/: ?$/, ": none", rule)
    printf "%s:%d: %s\n", path, line_number, rule
    return 1
}
BEGIN {
    n = split(ENVIRON["SYSTEM"], words, /[ \n]+/)
    for (i = 1; i <= n; i++)
        is_system[words[i]] = 1
    n = split(ENVIRON["TABLE"], lines, "\n")
    for (i = 1; i <= n; i++) {
        if (split(lines[i], sides, /:/) != 2)
            continue
        gsub(/^[+ ]+| +$/, "", sides[1])
        split(sides[2], parts, /\|/)
        own[sides[1]] = parts[1]
        foreign[sides[1]] = parts[2]
    }
}
{
    path = $0
    line_number = bad = 0
    while ((getline line <path) > 0) {
        line_number++
        if (line !~ /^[ \t]*#[ \t]*include/)
            continue
        if (!match(line, /["<][^">]*[">]/)) {
            printf "%s:%d: not a plain #include: %s\n", path, line_number, line
            bad = 1
            continue
        }
        bad += check(path, line_number, substr(line, RSTART + 1, RLENGTH - 2),
                     substr(line, RSTART, 1) == "<")
    }
    close(path)
    files++
    failed += bad
}
END {
    if (!files)
        print "no source file found: wrong folder?"
    ok = files && !failed
    printf "includes: %d passed, %d failed, 0 skipped\n", ok, !ok
    exit !ok
}'
