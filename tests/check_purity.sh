#!/bin/sh
# Policies and drafters are pure: their libraries need no clock, random, allocation or I/O symbol.
#
#   sh tests/check_purity.sh BUILD_DIR
#
# Every symbol that they take from elsewhere must be in the list below: what is not named is not
# allowed. A sanitizer's build has symbols of its own and is not checked.
set -eu

libraries='sim/draft/libtandem_draft.a sim/policy/libtandem_policy.a'

# Of the C library and the compiler: pure functions of their arguments, and the end of an assert.
allowed_c='memcpy memmove memset memcmp bcmp memchr strlen strcmp strncmp strchr qsort bsearch sqrt
__assert_fail __stack_chk_fail __memcpy_chk __memmove_chk __memset_chk _GLOBAL_OFFSET_TABLE_'

# Of ours, beside what the two libraries define themselves: functions that neither allocate nor
# reach outside. An entry that ends in * is a prefix.
allowed_ours='act_* action_hash belief_hash belief_step_ns err_name err_set err_text exec_accept
exec_caps_check hash_* param_find'

build=${1:?usage: check_purity.sh BUILD_DIR}
own=$(for library in $libraries; do
    nm --defined-only "$build/$library" 2>/dev/null | awk 'NF == 3 && $2 ~ /[A-Z]/ { print $3 }'
done)
failed=0
undefined=0
for library in $libraries; do
    if [ ! -e "$build/$library" ]; then
        printf '%s: is not built\n' "$build/$library"
        failed=1
        continue
    fi
    # A line of nm -A is ARCHIVE:MEMBER: U SYMBOL.
    hits=$(nm -u -A "$build/$library" | ALLOWED="$allowed_c $allowed_ours $own" awk '
        BEGIN {
            n = split(ENVIRON["ALLOWED"], words, /[ \n]+/)
            for (i = 1; i <= n; i++)
                if (words[i] ~ /\*$/)
                    prefix[substr(words[i], 1, length(words[i]) - 1)] = 1
                else if (words[i] != "")
                    exact[words[i]] = 1
        }
        {
            symbol = $NF
            if (symbol in exact)
                next
            for (p in prefix)
                if (index(symbol, p) == 1)
                    next
            printf "%s not in the list of pure symbols: %s\n", $1, symbol
        }')
    if [ -n "$hits" ]; then
        printf '%s\n' "$hits"
        failed=1
    fi
    undefined=$((undefined + $(nm -u "$build/$library" | wc -l)))
done
if [ "$failed" = 0 ] && [ "$undefined" -lt 3 ]; then
    echo "only $undefined undefined symbols in all: nm saw nothing"
    failed=1
fi
printf 'purity: %d passed, %d failed, 0 skipped\n' $((1 - failed)) "$failed"
exit "$failed"
