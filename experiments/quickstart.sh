#!/bin/sh
# From a bare Debian or Ubuntu machine to the table "predicted against measured".
#
#   sh experiments/quickstart.sh [--with-tinyllama]
#
# --with-tinyllama fetches a second model, of 1.1 billion parameters, and requantises it too.
# Installs what is missing, fetches llama.cpp and the weights, builds, and runs the main job on a
# short list of prompts. What it fetches goes to ${TANDEM_DEPS:-~/.cache/tandem}; what it builds
# and writes to build/ and out/. A second run does only what is left to do.
set -eu
cd "$(dirname "$0")/.."

store=out/quickstart.sqlite
report=out/quickstart.json
picture=out/quickstart.svg

tinyllama=
case ${1:-} in
'') ;;
--with-tinyllama) tinyllama=1 ;;
*)
    echo "usage: sh experiments/quickstart.sh [--with-tinyllama]" >&2
    exit 2
    ;;
esac

started=$(date +%s)
step_started=$started
stage=

# step TITLE: ends the stage before with its time, and begins the next; no title: the last has ended
step()
{
    now=$(date +%s)
    [ -z "$stage" ] || printf '==> %s: done in %d s\n' "$stage" $((now - step_started)) >&2
    stage=$1
    step_started=$now
    [ -z "$stage" ] || printf '==> %s\n' "$stage" >&2
}

on_exit()
{
    status=$?
    [ "$status" = 0 ] || printf '==> %s: FAILED after %d s\n' "$stage" \
        $(($(date +%s) - step_started)) >&2
}
trap on_exit EXIT

step "1/6 packages"
sh experiments/setup.sh packages
step "2/6 llama.cpp"
TANDEM_LLAMA_DIR=$(sh experiments/setup.sh llama)
export TANDEM_LLAMA_DIR
step "3/6 weights"
sh experiments/setup.sh model >/dev/null
step "4/6 Tandem"
cmake --preset release >&2
cmake --build --preset release -j "${TANDEM_JOBS:-$(nproc)}" >&2
step "5/6 weights as pure Q4_0"
sh experiments/setup.sh quantise build/tandem-device >/dev/null
if [ -n "$tinyllama" ]; then
    step "5/6 TinyLlama-1.1B"
    sh experiments/setup.sh tinyllama build/tandem-device >/dev/null
fi
step "6/6 predicted against measured (about two minutes)"
mkdir -p out
rm -f "$store" "$store-wal" "$store-shm"
build/tandem validate --quick --store "$store" --save-device out/quickstart.yaml \
    --report "$report" --picture "$picture"
step ""

printf '\nAll of it, one object:  %s\nThe picture:            %s\n' "$report" "$picture"
printf 'More held-out prompts:  build/tandem validate   (about 20 minutes)\n'
printf 'This took %d s.\n' $(($(date +%s) - started)) >&2
