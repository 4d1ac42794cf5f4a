# What the tests of the commands share. Sourced from the sources' root, after these are set:
#
#   suite     its name, for its last line
#   build     the build's folder
#   always    the command that t runs, where it is one; or nothing
#   stdout    the files that hold what the last command printed; `out` and `err` when not set
#   stderr
#
# Afterwards the current folder is an empty scratch one that goes with the shell, and $root is where
# the sources are.
: "${build:?} ${suite:?} ${always=} ${stdout=out} ${stderr=err}"
build=$(cd "$build" && pwd) || exit 2
root=$PWD
scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 2
passed=0
failed=0

# data [WHAT]: the sources' data here, with a synthetic trace in the place of the recorded ones
# unless WHAT is `recorded` and they are there.
data()
{
    mkdir traces
    cp -R "$root/experiments" "$root/hwmodels" .
    cp -R "$root/traces/workloads" traces
    if [ "${1-}" = recorded ] && cp "$root"/traces/*.trace traces 2>/dev/null; then return; fi
    "$build/tests/make_trace" traces/quickstart.trace || exit 2
}

# ok MESSAGE COMMAND...: the command must succeed
ok()
{
    message=$1
    shift
    if "$@"; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        printf 'failed: %s\n' "$message"
        sed 's/^/  out: /' "$stdout" | cut -c 1-200 | head -n 20
        sed 's/^/  err: /' "$stderr" | cut -c 1-200 | head -n 20
    fi
}

# t EXIT ARGUMENTS...: tandem ends so; what it printed is in $stdout and $stderr
t()
{
    want=$1
    shift
    "$build/tandem" ${always:+"$always"} "$@" >"$stdout" 2>"$stderr" && got=0 || got=$?
    last="${always:+$always }$*"
    ok "tandem $last: exit $got, expected $want" [ "$got" = "$want" ]
}

# out TEXT, err TEXT: the last command printed it there
out() { ok "tandem $last: no '$1' on stdout" grep -qF -e "$1" "$stdout"; }
err() { ok "tandem $last: no '$1' on stderr" grep -qF -e "$1" "$stderr"; }
silent_out() { ok "tandem $last: something on stdout" [ ! -s "$stdout" ]; }
silent_err() { ok "tandem $last: something on stderr" [ ! -s "$stderr" ]; }
absent() { ok "tandem $last: left $1" [ ! -e "$1" ]; }
array() { ok "tandem $last: no JSON array" [ "$(head -c 1 "$stdout")$(tail -c 2 "$stdout")" = '[]' ]; }

# installed_model: its file; without one the suite ends as skipped
installed_model()
{
    model=${TANDEM_MODEL:-${TANDEM_DEPS:-$HOME/.cache/tandem}/models/SmolLM2-135M-Instruct.pure-Q4_0.gguf}
    [ -e "$model" ] || skip "model: experiments/setup.sh did not make $(basename "$model")"
}

skip()
{
    printf 'skipped: %s\n%s: 0 passed, 0 failed, 1 skipped\n' "$1" "$suite"
    exit 0
}

finish()
{
    printf '%s: %d passed, %d failed, 0 skipped\n' "$suite" "$passed" "$failed"
    [ "$failed" = 0 ]
    exit
}
