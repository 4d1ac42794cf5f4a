#!/bin/sh
# The commands as their users meet them: what they print, where, and how they end.
#
#   sh tests/test_cli.sh BUILD_DIR
#
# Runs in a scratch folder that has the sources' data, a synthetic trace in the place of the recorded
# one, and nothing else.
set -u
build=${1:?usage: test_cli.sh BUILD_DIR}
cd "$(dirname "$0")/.." || exit 2
suite=cli
. tests/shell.sh
data

# tracks FILE PROCESSOR BUS: it is JSON, with jobs on that processor, requests with their parts, and
# that bus
tracks()
{
    if command -v python3 >/dev/null; then
        ok "$1 is no JSON" python3 -m json.tool "$1" out
    fi
    for part in "\"pid\": 1, \"tid\": [0-9]*, \"args\": {\"name\": \"$2\"}" "$3" \
        '"ph": "X", "name": "target FORWARD verify w[0-9]*", "pid": 1,' \
        '"ph": "X", "name": "request 0", "pid": 2, "tid": 0,' \
        '"ph": "X", "name": "prefill", "pid": 2, "tid": 0,' \
        '"ph": "i", "name": "first token", "pid": 2, "tid": 0,' \
        '"ph": "X", "name": "verify +[0-9]*", "pid": 2, "tid": 0,'; do
        ok "$1 has no $part" grep -q -e "$part" "$1"
    done
}

q=experiments/quickstart.yaml

# ---- manners
t 2
err 'tandem: no command: `tandem --help` lists them'
silent_out
t 0 --help
silent_err
out 'Exit status: 0 done'
for command in run validate reproduce profile observe quantize import list devices explain log bench; do
    out "  $command "
    t 0 "$command" --help
    out "Usage: tandem $command "
    out '--help '
    ok "tandem $command --help: a line that is too long" [ -z "$(grep -v '^Example' out | grep '.\{97\}')" ]
    t 0 --help
done
t 0 --version
out 'GPL-3.0-or-later as linked with GSL; the sources are Apache-2.0'
t 2 rum
err "tandem: unknown command 'rum': did you mean 'run'?"
t 2 xyzzy
err "tandem: unknown command 'xyzzy': \`tandem --help\` lists them"
t 2 run --sed 3 $q
err "unknown option '--sed' of 'run': did you mean '--se"
t 2 run --qqqqqq $q
err "unknown option '--qqqqqq' of 'run': \`tandem run --help\` lists them"
t 2 run $q --seed
err "option '--seed' needs a value: --seed N"
t 2 run $q --seed 1 --seed 2
err "option '--seed' was given twice"
t 2 run $q --mix-numerics=1
err "option '--mix-numerics' takes no value"
t 2 run $q --seed 1x
err "--seed is '1x': expected a whole number from 0 to"
t 2 run $q $q
err "unexpected argument '$q': expected tandem run EXPERIMENT.yaml"
t 2 run
err 'too few arguments'
t 2 run $q --format xml
err "--format is 'xml': expected one of table, csv, json"
t 2 run $q --on mars
err "--on is 'mars': expected sim, real, toy or replay:LOG"
t 2 run $q --on real --faults fail=1
err '--faults goes with --on sim and --on toy'
t 2 run $q --faults fail=2000
err "fail is '2000': expected a whole number from 0 to 1000"
t 2 run $q --faults 'fail=10 fail=20'
err "--faults is 'fail=10 fail=20': fail is given twice: remove one of them"
t 2 run $q --seed 7 --set seed=3
err '--seed 7 and --set seed=3 both give the seed: remove one of them'
t 2 run $q --set limit=3 --set limit=4
err '--set limit=3 and --set limit=4 are of the same value: remove one of them'
t 2 run $q --mix-numerics --set mix_numerics=false
err '--mix-numerics and --set mix_numerics=false say the same thing'
t 2 run --on replay:x.log --store x.sqlite
err '--store and --on replay:x.log do not go together'
t 2 run --on replay:x.log --set limit=3
err '--set limit=3 and --on replay:x.log without an experiment'
t 2 observe --engine toy --workload w.jsonl -o a.trace --output b.trace
err '-o and --output do not go together: remove one of them'
t 2 profile --engine toy --model m.gguf -o a.yaml
err '--model and --engine toy do not go together: remove one of them'
t 2 run $q --faults ''
err "--faults is '': expected NAME=NUMBER pairs"
t 2 run $q --faults 'delay=5'
err "--faults is 'delay=5': delay without a delay_ns above 0 delays nothing: add it"
many=''
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do many="$many --workload $i.jsonl"; done
t 2 validate --engine toy $many
err "option '--workload' was given more than 16 times, the limit here"
t 2 list foo
err "unexpected argument 'foo': expected tandem list without arguments"
t 2 run $q --set 'seed=[1, 2]'
err 'nothing here is random'

# ---- no output is another file of the same command line
w=traces/workloads/ui.jsonl
cp $w own.jsonl
ln -s own.jsonl link.jsonl
same() { err "$1 are the same file, which would be overwritten: name another for one of them"; }
t 2 observe --engine toy --workload own.jsonl -o own.jsonl
same '--workload own.jsonl and -o own.jsonl'
t 2 observe --engine toy --workload own.jsonl --output ./link.jsonl
same '--workload own.jsonl and --output ./link.jsonl'
t 2 import --from jsonl --field prompt $w own.jsonl --output own.jsonl
same 'FILE own.jsonl and --output own.jsonl'
t 2 log own.jsonl --perfetto ./own.jsonl
same 'FILE own.jsonl and --perfetto ./own.jsonl'
t 2 quantize own.jsonl own.jsonl
same 'IN.gguf own.jsonl and OUT.gguf own.jsonl'
t 2 profile --model own.jsonl -o own.jsonl
same '--model own.jsonl and -o own.jsonl'
t 2 run $q --store $q
same "--store $q and the experiment $q"
t 2 run $q --set trace=../own.jsonl --store own.jsonl
err '--store own.jsonl and its trace '
t 2 run $q --store new --log ./new
same '--store new and --log ./new'
t 2 validate --engine toy --workload own.jsonl --report own.jsonl
same '--report own.jsonl and --workload own.jsonl'
t 2 validate --engine toy --store new --picture ./new
same '--store new and --picture ./new'
t 2 validate --engine toy --save-device new --report new
same '--save-device new and --report new'
ok 'the workload was overwritten' cmp -s $w own.jsonl
ok 'a file was made' [ ! -e new ]
rm own.jsonl link.jsonl

# ---- pipes: no input waits for one, no output takes the place of one
mkfifo pipe
bounded=$(command -v timeout)
for line in "run pipe" "run $q --set trace=../pipe" "run $q --set device=../pipe" \
    "run $q --on toy --set workload=../pipe" "log pipe" "run --on replay:pipe" \
    "explain --device oneplus-13 --model ./pipe" "import --from text pipe --output x" "observe --engine toy --workload pipe -o x"; do
    # shellcheck disable=SC2086
    ${bounded:+$bounded 20} "$build/tandem" $line >out 2>err && got=0 || got=$?
    last=$line
    ok "tandem $line: exit $got, expected 1" [ "$got" = 1 ]
    err 'pipe: is a named pipe, not a regular file'
done
t 1 import --from jsonl --field prompt $w --output pipe
err 'pipe: is a named pipe: an output would replace it'
t 1 observe --engine toy --workload $w -o pipe
err 'pipe: is a named pipe: an output would replace it'
t 1 validate --engine toy --report r.json --picture pipe
err 'pipe: is a named pipe: an output would replace it'
ok 'the pipe is gone' [ -p pipe ]
rm pipe

t 2 bench cores
err "nothing is called 'cores' here"
silent_out

# ---- run
# A policy that never drafts, and an output longer than any step.
echo '{"id": "a", "task": "x", "prompt": "one two three", "max_tokens": 1200}' >long.jsonl
printf '%s\n' 'schema: tandem-experiment-1' 'name: long' 'workload: long.jsonl' 'split: all' \
    'max_ctx: 2000' 'policies: [{policy: speculative, drafter: lookup, width: 1}]' >long.yaml
t 0 run long.yaml --on toy
out ' 1200 '
t 2 run $q --on toy --set real_roles='target=cpu:x0'
err "role 'target' is played by 'cpu:x0', which is not here"
t 2 run $q --on toy --set real_roles='target=cpu:9999'
err "'cpu:9999', which is not here"
t 0 run $q
silent_err
out 'quickstart: sim on example-2core, model synthetic, target=cpu:0 draft=cpu:1'
out 'suffix width=auto'
out 'unknown'
cp out first
(cd / && "$build/tandem" run "$scratch/$q") >out 2>err
ok 'an experiment from elsewhere gives something else' cmp -s first out
t 0 run -- $q
ok 'two runs differ' cmp -s first out
for format in csv json; do
    t 0 run $q --format $format
    cp out first
    t 0 run $q --format=$format --seed 1
    ok "two runs differ as $format" cmp -s first out
done
ok 'JSON lacks the requests' grep -q '"id": "synthetic-0"' out
t 0 run $q --by task --format csv
ok 'by task: a value outside its interval, or rows of no policy' awk -F, '
    NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
    $2 == "all" { policies++; next }
    { rows++; n[$2] += $3 + $4 }
    $at["verify low"] > $5 || $at["verify high"] < $5 || $at["speedup low"] > $8 ||
        $at["speedup high"] < $8 { bad++ }
    $1 == "autoregressive" && ($5 != 1 || $8 != 1) { bad++ }
    $1 != "autoregressive" && $1 !~ /auto|oracle/ && $2 == "copy" && $at["verify low"] == $at["verify high"] { bad++ }
    END { exit !(policies == 6 && rows == 12 && n["copy"] == 6 * 2 && n["chat"] == 6 * 4 && !bad) }' out
sed 's/name: suffix, drafter: suffix/name: suffix, drafter: {suffix: {history: 1}}/' $q >${q%.yaml}-past.yaml
t 0 run ${q%.yaml}-past.yaml --by task --format csv
ok 'by task: intervals with a history' grep -q '^autoregressive,all,[0-9]*,[0-9]*,1.000,-,-,' out
t 2 run $q --by model
err "--by is 'model': expected one of policy, task"
t 0 run $q --set policies.4.tree=plain
out '~ may give another text than the target alone; '
out ' did for 0 of 6 requests'
t 0 run $q --set policies.1.max_draft=5 --format csv
out 'lookup max_draft=3,speculative,width=0 max_draft=5'
t 1 run $q --set 'roles={targett: "cpu:0"}'
err "no policy has a role 'targett': expected one of target, draft, load"
t 1 run $q --on toy --set real_roles='npu=cpu:0'
err "no policy has a role 'npu': expected one of target, draft, load"
t 1 run ''
err "tandem: '': cannot open: No such file or directory"
t 0 run $q --set 'device.processors.cpu:0.sample.per_row=9 us'
out 'example-2core (altered)'
ok 'an altered device answers the same' [ "$(cmp -s first out; echo $?)" = 1 ]
t 0 run $q --set 'device.bus.dram=1000 GB/s' --format json
ok 'a bus wider than all that moves changes times' grep -qF "$(grep -m 1 e2e_ns_sum first)" out
t 0 run $q --set 'device.bus.dram=9 GB/s' --format json
ok 'no step waits for the bus' [ "$(grep -cF "$(grep -m 1 e2e_ns_sum first)" out)" = 0 ]
t 0 run $q --set policies.1.max_draft=40 --log deep/far
out 'lookup max_draft=3 *'
out '* cost outside what was measured (extrapolated): lookup max_draft=3 '
t 0 log deep/far/01-*.log
out ' FORWARD ok extrapolated start_ns='
t 0 log deep/far/01-*.log --format csv
ok 'no row of the log is marked' grep -q ',41,41,.*,ok,[0-9]*,1$' out
ok 'no row of the log is measured' grep -q ',prefill,.*,ok,[0-9]*,0$' out
t 1 run nowhere.yaml
err 'tandem: nowhere.yaml: '
t 1 run $q --set trace=nowhere.trace
err 'nowhere.trace: '
printf 'schema: tandem-experiment-1\nname: x\npolicies:\n  - policy: autoregresive\n' >bad.yaml
t 1 run bad.yaml
err "tandem: bad.yaml:4:13: policies.0.policy is 'autoregresive': there is no such policy"
silent_out
printf 'schema: tandem-experiment-1\nname: x\npolicies:\n  - policy: both-resident-shared\n' >bad.yaml
t 1 run bad.yaml
err 'there is no such policy: is {policy: switching, scheme: both-resident-shared} meant'
t 1 run $q --set policies.suffix.max_draft=5000
err ": policies.3.max_draft is '5000': expected a whole number from 1 to 511"
t 1 run $q --set polices=1
err "did you mean 'policies'?"
t 1 run $q --set belief.scal=2
err "--set belief.scal=2: unknown key 'scal' ('2') in belief: expected one of load_scale, noise_pct, "
t 0 run $q --set belief.scale=2
t 1 run $q --set belief.load_scale=3
err "belief.load_scale is '3': without graphs nothing is loaded: remove it"
t 1 run $q --set estimator=mean
err "estimator is 'mean': expected minimum, median or {expected_minimum: N}"
t 1 run $q --set max_ctx=100 --store refused.sqlite --log refused
err "request 'synthetic-0' has 60 prompt tokens and asks for 48 more"
absent refused.sqlite
absent refused
t 1 run $q --store nowhere/x.sqlite
err 'nowhere/x.sqlite.part: cannot create: No such file or directory: correct the path, or make its'
t 2 run $q --store ''
err "--store is '': expected the path of a file"
t 2 run $q --store :memory:
err "--store is ':memory:': expected the path of a file"
t 1 run $q --store /dev/null
err '/dev/null: is a device: an output would replace it, and replaces regular files only'
head -c 700 traces/quickstart.trace >cut.trace
t 1 run $q --set trace=../cut.trace
err 'offset 700: the file ends here: expected '
err '; fetch the file again, or record it with `tandem observe`'
printf 'GGUX' >bad.gguf
t 1 explain --device oneplus-13 --model bad.gguf
err "bad.gguf: offset 0: the file does not start with 'GGUF': expected a GGUF model; fetch or convert"
"$build/tests/make_trace" other.trace another-build
sed 's/^mix_numerics: true/mix_numerics: false/' $q >experiments/strict.yaml
t 1 run experiments/strict.yaml --set trace=../other.trace
err "the trace has the numerics id 'another-build', the device 'example-2core'"
err '--mix-numerics'
t 0 run experiments/strict.yaml --set trace=../other.trace --mix-numerics
out 'numerics ids differ, as allowed: trace another-build, device example-2core'

# ---- phones: a device of operators, a model's description, graphs
# the short trace has no likely tokens
sed 's/calibrate: 1/calibrate: 0/; s/reuse: 1/reuse: 0/' experiments/phone.yaml >experiments/told.yaml
phone='experiments/told.yaml --set trace=../traces/quickstart.trace --set split=all --set limit=2'
t 0 run $phone
out 'Qwen2.5-1.5B-Instruct with the text of'
out 'NPU-EAGLE ! ?'
out '? its acceptance is a parameter, as a paper states it'
out "the text, and so acceptance, is another model's, as allowed"
out 'NPU-EAGLE (draft=npu)'
out 'unknown'
out 'rests on: width sourced, context assumed, storage assumed; the weakest: assumed'
t 0 run $phone --format json
out '"tokens_equal": 1,'
out '"energy_pj_per_token": null'
out '"peak_mc": null'
out '"storage": "assumed"'
out '"npu": null'
t 0 run $phone --set device=../hwmodels/devices/redmi-k60-pro.yaml
out 'mJ/token while they worked, without idle power: CPU vanilla cpu '
t 0 run $phone --set device=../hwmodels/devices/redmi-k70-pro.yaml
out 'without idle power: NPU vanilla npu '
out 'rests on: width sourced, context assumed, bus sharing sourced, load beside compute assumed, '
t 0 run $phone --set 'device.bus.dram=60 GB/s'
out ', and values set by hand'
# two requests: three times a graph of 2 blocks is freed for another
sum() {
    awk -F, -v who="$1" '/^label,/ { for (i = 1; i <= NF; i++) at[$i] = i }
        $1 == who { print $at["e2e_ns_sum"] }' "$stdout"
}
t 0 run $phone --format csv
free=$(sum 'NPU vanilla')
auto=$(sum 'all on CPU')
t 0 run $phone --format csv --set graphs.unload='500 ms'
ok 'freeing graphs takes no time' [ $(($(sum 'NPU vanilla') - free)) = 1500000000 ]
# on a processor whose steps grow with their rows, a width by the belief beats all rows that there are
t 0 run $phone --format csv --set 'policies.all on CPU.width=0' --set 'policies.all on CPU.fill=0'
ok 'a width by the belief gains nothing' [ "$auto" -lt $(($(sum 'all on CPU') * 2 / 3)) ]
t 1 run $phone --set policies.all.width=8
err 'with decode=graph a step is as wide as the graph'
t 1 run $phone --set device.memory.npu_space='0.5 GB'
err 'of 500 MB of address space; resident: base 58 MB, graph 1 blocks 0 '
t 1 run $phone --set mix_numerics=false
err 'allow that with mix_numerics: true'
t 1 run $phone --set graphs.load=null
err "tandem: experiments/told.yaml:15:3: graphs.load is null, and device 'oneplus-13' does not know how fast"
t 1 run $phone --set graphs.context=10
err 'over the context of 10 (graphs.context)'
t 1 run $phone --set graphs.context=null --set max_ctx=100
err 'over the context of 100 (max_ctx)'
for key in attention=nosuch wait=sleeping; do
    t 1 run $phone --set graphs.$key
    err "graphs.${key%=*} is '${key#*=}': only with layout: mllm or mllm-pairs"
done
t 1 run $phone --set graphs.read_block='4 kB'
err "graphs.read_block is '4 kB': graphs.load is the bandwidth: remove one of the two"
t 1 run $phone --set graphs.layout=mllm --set graphs.attention=cpu
err "does not know the time of a crossing between 'cpu' and 'npu' (polling of sync cpu-npu)"
t 1 run $phone --set graphs.layout=mllm --set graphs.attention=gpu
err "does not know the time of a crossing between 'gpu' and 'npu' (polling of sync gpu-npu)"
t 1 run $phone --set graphs.narrow=512
err 'wider than graphs.wide, 256'
t 1 run $phone --set graphs.host=null
err 'does not know what drafter 0 costs: name a device file that does as graphs.host'
(cat $q && echo 'graphs: {wide: 8, narrow: 4}') >experiments/graphs.yaml
t 1 run experiments/graphs.yaml
err 'graphs need a device of operators'
hot='run experiments/told.yaml --set trace=../traces/quickstart.trace --set split=all'
hot="$hot --set graphs.load_power=1W"
powers=
for p in npu cpu; do
    powers="$powers --set device.processors.$p.power.active=8W --set device.processors.$p.power.idle=50mW"
done
hot="$hot $powers"
t 0 $hot
out 'NPU vanilla'
silent_err
ok 'an energy that is known is unknown' sh -c "! grep -q unknown '$stdout'"
heat='resistance=6C/W capacity=1J/C ambient=25C hot=42C cool=38C slow_permille=500'
for v in $heat; do hot="$hot --set device.thermal.$v"; done
t 0 $hot
out 'heat: NPU vanilla up to 4'
ok 'nothing was slowed' sh -c "! grep -q 'NPU vanilla up to [0-9.]* C, slowed for 0.0 %' '$stdout'"

# every key of `graphs` changes what is printed; both runs are told `also`
alone='launch: 0 us, peak: 1 TFLOPS, bandwidth: 20 GB/s, source: made up'
sed "s/^  - name: cpu-npu/  - {name: gpu-npu, sleeping: null, polling: 90 us, source: made up}\n&/
    s|{operator: attention, included: true}|{operator: attention, included: true, $alone}|" \
    hwmodels/devices/oneplus-13.yaml >hwmodels/devices/crossings.yaml
sed 's/^  event: .*/  event: 70 us/' hwmodels/devices/example-2core.yaml >hwmodels/devices/slow.yaml
polled='--set device.sync.cpu-npu.polling=20us --set graphs.layout=mllm'
keys=$(sed -n '/^static void read_graphs/,/^}/s/.*map, "\([a-z_]*\)".*/\1/p' "$root/experiments/experiment.c")
ok 'no keys of graphs were found' [ "$(echo "$keys" | wc -l)" -gt 10 ]
for key in $keys; do
    also=
    case $key in
    wide) from=256 to=128 ;;
    narrow) from=32 to=16 ;;
    blocks) from=2 to=4 ;;
    context) from=2048 to=1024 ;;
    layout) from=mllm to=mllm-pairs also="${polled% --set*} --set graphs.attention=cpu" ;;
    wait) from=polling to=sleeping also="$polled --set graphs.attention=cpu" ;;
    attention)
        from=cpu to=gpu
        also="$polled --set graphs.backend=mnn --set device=../hwmodels/devices/crossings.yaml"
        ;;
    backend) from=qnn to=llama.cpp ;;
    datatype) from=w4a16 to=q4_0 also='--set graphs.backend=null' ;;
    load) from=1GB/s to=2GB/s ;;
    read_block) from=512kB to=4kB also='--set device=../hwmodels/devices/redmi-k70-pro.yaml --set graphs.load=null' ;;
    unload) from=0ns to=500ms ;;
    load_power) from=1W to=2W also=$powers ;;
    base | wide_own | narrow_own) from=0B to=1GB ;;
    host) from=../hwmodels/devices/example-2core.yaml to=../hwmodels/devices/slow.yaml ;;
    *) from=? to=? ;;
    esac
    ok "graphs.$key: a key without values here" [ $to != '?' ]
    t 0 run $phone --format json $also --set graphs.$key=$from
    cp "$stdout" before.json
    t 0 run $phone --format json $also --set graphs.$key=$to
    ok "graphs.$key changes nothing" sh -c "! cmp -s '$stdout' before.json"
done

# so does every number of a device of operators that a run uses, beside those that test_explain.sh has
changes() # BASE SET: with it instead of what BASE says of the same, or besides
{
    t 0 $1 --format json
    cp "$stdout" before.json
    case $1 in
    *"${2%%=*}="*) "$build/tandem" $(echo "$1" | sed "s#${2%%=*}=[^ ]*#$2#") --format json ;;
    *) "$build/tandem" $1 --set "$2" --format json ;;
    esac >after.json 2>"$stderr"
    sed 's/ (altered)//' before.json >before
    sed 's/ (altered)//' after.json >after # that a device was altered is no effect
    ok "$2 changes nothing" sh -c '! cmp -s before after'
}
# heat: two requests, so far apart that what was hot is cold again
sed 's/^arrivals: .*/arrivals: {period: 20 s}/' experiments/told.yaml >experiments/rested.yaml
hot="run experiments/rested.yaml ${phone#* } --set graphs.load_power=1W $powers"
for v in $heat; do hot="$hot --set device.thermal.$v"; done
hot=$(echo "$hot" | sed 's#capacity=1J/C#capacity=0.3J/C#')
for v in resistance=8C/W capacity=2J/C ambient=28C hot=50C cool=25.5C slow_permille=600; do
    changes "$hot" device.thermal.$v
done
other="run $phone --set device=../hwmodels/devices/redmi-k70-pro.yaml --set graphs.load=null"
for v in bus.dram=40GB/s bus.paths.npu-dma.cap=20GB/s storage.read.1.bandwidth=2GB/s \
    storage.read.1.block=600kB memory.dram=1GB memory.npu_space=700MB \
    processors.npu.power.prefill=1W processors.npu.power.decode=1W limits.rows=20; do
    changes "$other" "device.$v"
done
changes "$other --set graphs.read_block=100kB" device.storage.read.0.bandwidth=100MB/s
changes "$other --set graphs.context=null" device.limits.context=900
changes "$other $powers --set graphs.load_power=1W" device.bus.energy=60pJ/B

# every key of `belief` does: with prompts of several chunks, loads that they can hide, a late start
cat >believed.yaml <<END
schema: tandem-belief-1
source: a guess
unit: us
widths: [1, 32]
contexts: [2048]
step: [[40000], [41000]]
load: [90000, 90000, 90000, 90000]
blocks: [[9000, 9000, 9000, 9000], [9000, 9000, 9000, 9000], [6000, 6000, 6000, 6000]]
END
sed 's/load:.*/load: [1000, 1000, 1000, 1000]/' believed.yaml >fast.yaml
told="run experiments/phone.yaml --set trace=$root/traces/smollm2-135m.trace --set limit=2 --set graphs.load=4GB/s
    --set graphs.wide=64 --set graphs.blocks=4 --set policies.+G.begin=late"
keys=$(sed -n '/^static void read_belief/,/^}/s/.*map, "\([a-z_]*\)".*/\1/p' "$root/experiments/experiment.c" | sort -u)
ok 'not four keys of belief were found' [ "$(echo "$keys" | wc -l)" = 4 ]
for key in $keys; do
    case $key in
    file) changes "$told --set belief.file=../believed.yaml" belief.file=../fast.yaml ;;
    scale) ;; # the shipped policies decide by ratios of beliefs, which it leaves as they are
    noise_pct) changes "$told" belief.noise_pct=50 ;;
    load_scale)
        changes "$told" belief.load_scale=0.2
        changes "$told --set belief.file=../believed.yaml" belief.load_scale=0.02
        ;;
    *) ok "belief.$key: a key without values here" false ;;
    esac
done
sed '/^load/d' believed.yaml >unloaded.yaml
t 1 run $q --set belief.file=../unloaded.yaml --set belief.load_scale=2
err 'belief.load_scale: ../unloaded.yaml has no loads: remove it'

cat >toy-graphs.yaml <<END
schema: tandem-experiment-1
name: toy graphs
workload: traces/workloads/reply.jsonl
split: all
limit: 2
max_tokens: 40
graphs: {wide: 64, narrow: 16, blocks: 4}
policies:
  - {policy: autoregressive}
  - {policy: switching, name: a, k: 2, drafter: suffix, overflow: passes}
  - {policy: switching, name: b, scheme: no-switch, decode: dynamic, drafter: suffix}
END
t 0 run toy-graphs.yaml --on toy --format json
out '"tokens_equal": 1,'

# ---- faults: a named error, and a store that is whole
t 1 run $q --faults 'drop=20' --store faults.sqlite
err 'was dropped by the fault plan'
err "; in the run of 'autoregressive', seed 1"
silent_out
t 1 run $q --faults 'fail=20' --store faults.sqlite
err 'a device or engine failed'
t 1 run $q --on toy --faults 'drop=20'
err 'was dropped by the fault plan'
t 0 run $q --faults 'delay=50 delay_ns=3000000'
out 'with injected faults: fail=0 drop=0 delay=50 delay_ns=3000000 reorder=0 seed=1'
t 0 run $q --faults 'delay=50 delay_ns=3000000' --by task
out 'with injected faults: fail=0'
t 0 run $q --set 'faults={delay: 50, delay_ns: 3000000}' --format json
out '"fault_plan": "fail=0 drop=0 delay=50 delay_ns=3000000 reorder=0 seed=1"'
t 2 run $q --faults fail=1 --set faults.fail=2
err '--faults and --set faults.fail=2 both give the faults: remove one of them'

# ---- the stored configuration is what ran: given again, it gives the same
stored() # NAME ARGUMENTS...: for every format; leaves the configuration in experiments/NAME.yaml
{
    name=$1
    shift
    for format in table csv json; do
        rm -f "$name.sqlite"
        t 0 run "$@" --store "$name.sqlite" --format $format
        cp out first
        python3 -c "import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute('SELECT config FROM experiment').fetchone()[0], end='')" \
            "$name.sqlite" >"experiments/$name.yaml"
        t 0 run "experiments/$name.yaml" --format $format
        ok "the configuration that $name stored gives something else as $format" cmp -s first out
    done
}
stored plain $q
ok 'faults where there are none' [ "$(grep -c faults experiments/plain.yaml)" = 0 ]
stored faulty $q --faults 'delay=1000 delay_ns=50000000 seed=7'
ok 'the plan is not in the JSON' grep -qF '"fault_plan": "fail=0 drop=0 delay=1000 ' out
stored mixed experiments/strict.yaml --set trace=../other.trace --mix-numerics
stored altered $q --set device.bus.dram='9 GB/s' --seed 3
stored altered experiments/altered.yaml --set device.bus.dram='8 GB/s' --set limit=2
ok 'the file'\''s own value was not replaced' [ "$(grep -c device.bus.dram experiments/altered.yaml)" = 1 ]
t 0 run $q --store faults.sqlite
printf 'no database, and longer than the header of one: %0100d' 0 >foreign
t 1 run $q --store foreign
err 'foreign: '

# ---- toy, logs, replay
t 0 run $q --on toy --log deep/logs --store faults.sqlite
out 'quickstart: toy on toy'
for log in deep/logs/*.log; do
    t 0 run --on "replay:$log"
    out true
done
t 0 run --on "replay:$log" --format json
out '"equal": true'
printf 'schema: tandem-experiment-1\nname: x\npolicies:\n  - {policy: %s}\n' \
    'speculative, drafter: suffix, max_draft: 4, width: auto' >one.yaml
t 1 run one.yaml --on "replay:$log"
err "tandem: $log: record "
err 'in the log: '
t 2 run $q --on "replay:$log"
err '6 policies: a log is replayed with one'
err "made with 'speculative width=auto"
err 'and suffix min_match=1'
err 'overflow=cut and suffix min_match=1'
err "here 'suffix width=auto'. Leave the experiment out"
t 1 run $q --on replay:bad.yaml
err 'tandem: bad.yaml:1: this is no log of Tandem: expected "tandem-log: 3" at byte 0'
t 1 run $q --on replay:nowhere.log
err 'nowhere.log: cannot open: No such file'
t 1 run --on replay:nowhere.log
err 'nowhere.log: '
head -c 2000 "$log" >cut.log
t 1 run --on replay:cut.log
err 'cut.log'
t 0 log "$log"
out 'ARRIVE request=0'
t 0 log "$log" --format csv
out 'request,job,phase,role'
t 0 log "$log" --perfetto deep/trace.json
silent_out
tracks deep/trace.json 'cpu:0' '"ph": "C", "name": "bus"'
t 0 run $q --log deep/sim
# The golden run: these bytes, whatever the compiler, its options or the processor. A change of what
# is simulated changes them, and is meant.
t 0 run $q --format csv
ok "the experiment's bytes are not the golden ones: $(cksum <out)" \
    [ "$(cksum <out)" = '3051537711 1826' ]
ok 'a simulated log does not say which Tandem made it' grep -aq '^version: Tandem [0-9]' deep/sim/00-*.log
for file in deep/sim/*.log; do "$build/tandem" log "$file" --format csv; done >out 2>err
ok "the steps' bytes are not the golden ones: $(cksum <out)" [ "$(cksum <out)" = '2521661332 86753' ]
t 0 log deep/sim/04-*.log --perfetto deep/trace.json
tracks deep/trace.json 'cpu:0' '"ph": "C", "name": "bus"'
t 0 run $q --log deep/sim --set roles=null
t 0 log deep/sim/04-*.log --perfetto deep/trace.json
tracks deep/trace.json 'cpu:0' '"ph": "C", "name": "bus"'
# Of a log that is not whole nothing is printed, and the picture that was there stays.
{ head -c 2000 "$log" && printf x && tail -c +2002 "$log"; } >damaged.log
cp deep/trace.json before.json
for bad in cut damaged; do
    for form in text csv; do
        t 1 log $bad.log --format $form
        err "$bad.log: record "
        err '; record the run again'
        silent_out
    done
    t 1 log $bad.log --perfetto deep/trace.json --format csv
    silent_out
    absent deep/trace.json.part
    ok "tandem $last: altered the picture" cmp -s deep/trace.json before.json
done
t 2 log "$log" --format xml
err 'expected one of text, csv'

# ---- the rest
t 0 list
ok 'tandem list: the status of a mechanism is not said' grep -q '^status  *oneplus-13  *width  *sourced ' "$stdout"
out 'suffix automaton'
out '1..4096'
t 0 list --format csv
out 'drafter,lookup,ngram,3,1..8,'
out 'mechanism,thermal,,,,"one node, a governor with hysteresis; null: unknown; devices of operators"'
t 0 list --format json
out '"what": "one token per step, no drafts: the baseline; lossless"'
array
t 0 devices
t 0 devices --format json
array
t 0 import --from jsonl --field prompt --task reply traces/workloads/reply.jsonl --output w.jsonl
err 'prompts, 1 tasks, written to w.jsonl'
t 0 run $q --on toy --set workload=../w.jsonl
echo '{"id": "a", "task": "t", "prompt": " ", "max_tokens": 5}' >blank.jsonl
t 1 run $q --on toy --set workload=../blank.jsonl --set split=all
err "blank.jsonl:1:36: the prompt of 'a' has no tokens: give it some text"
printf '{"question_id": %d, "category": "c", "turns": ["a", "b"]}\n' 1 2 >turns.jsonl
t 0 import --from spec-bench turns.jsonl --output turned.jsonl
err '2 later turns left out: only the first of each question becomes a prompt'
t 0 import --help
out 'only the first turn is taken'
t 2 import --from jsonl w.jsonl
err '--output is missing'
t 2 import w.jsonl --output x
err '--from is missing'
t 2 import --from nonsense w.jsonl --output x
err nonsense
t 1 import --from text nowhere.txt --output x
err 'nowhere.txt'
t 0 bench start --repetitions 2 --format json
out '"start_ms": '
t 1 bench start --experiment bad.yaml
err 'did not come to its first event'
t 0 bench core --repetitions 1 --format json
for key in events_per_s shared_completions_per_s ns_per_event_4_pending ns_per_event_16_pending \
    ns_per_event_64_pending ns_per_event_1024_pending; do
    out "\"$key\": "
done
t 0 bench draft --repetitions 1 --format json
ok 'nodes are not those of all drafters' [ "$(grep -c '"nodes_per_step": [1-9]' out)" = "$(grep -c '"drafter"' out)" ]
out '"drafter": "lookup"'
out '"us_per_step": '
array
t 1 bench pages --model nowhere.gguf
err 'nowhere.gguf'
t 2 bench pages --model one.gguf --model two.gguf
err '--model is given 2 times: expected one for pages'
t 2 quantize one
err 'too few arguments: expected tandem quantize IN.gguf OUT.gguf'
t 1 quantize nowhere.gguf x.gguf
err 'nowhere.gguf'

# ---- a full disk
if [ -w /dev/full ]; then
    for line in "run $q" "run $q --format json" "log $log" "log $log --format csv" list; do
        # shellcheck disable=SC2086
        "$build/tandem" $line >/dev/full 2>err && got=0 || got=$?
        last=$line
        ok "a full disk: tandem $line: exit $got, expected 1" [ "$got" = 1 ]
        err 'tandem: standard output: No space left on device'
    done
fi
# A limit on the size of files stands for a disk that fills up in the middle.
limited() { (ulimit -f 16 && trap '' XFSZ && "$build/tandem" "$@" >"$to" 2>err) && got=0 || got=$?; }
to=out
limited run $q --log full
last='run --log on a full disk'
ok "tandem $last: exit $got, expected 1" [ "$got" = 1 ]
err 'the log full/00-autoregressive-seed1-rep0.log was not written: File too large'
ok 'a part of a log was left' [ -z "$(ls full)" ]
limited run $q --store full.sqlite
last='run --store on a full disk'
ok "tandem $last: exit $got, expected 1" [ "$got" = 1 ]
err 'make room on the disk, or name a file on another'
ok 'a part of a store was left' [ -z "$(ls | grep '^full.sqlite')" ]
if command -v gnuplot >/dev/null; then
    to=/dev/null
    limited reproduce switching --picture full.svg
    to=out
    last='reproduce --picture on a full disk'
    ok "tandem $last: exit $got, expected 1" [ "$got" = 1 ]
    err 'gnuplot drew no picture'
    ok 'a part of a picture was left' [ -z "$(ls | grep '^full.svg')" ]
fi
limited log "$log" --perfetto full.json
last='log --perfetto on a full disk'
ok "tandem $last: exit $got, expected 1" [ "$got" = 1 ]
err 'full.json: cannot write: File too large'
absent full.json
absent full.json.part

# ---- the set-up, where downloads cannot be kept: below a file, and below what takes no folder
mkdir -p locked/lock
for deps in "$PWD/bad.yaml" "$PWD/bad.yaml/x" "$PWD/locked" /dev/null/x; do
    TANDEM_DEPS=$deps sh experiments/setup.sh llama >out 2>err && got=0 || got=$?
    last="(setup.sh llama with TANDEM_DEPS=$deps)"
    ok "$last: exit $got, expected 1" [ "$got" = 1 ]
    err "setup: error: $deps: cannot keep downloads and builds there ("
    err '): set TANDEM_DEPS to a folder that can be written'
    ok "$last: more than that" [ "$(wc -l <err)" = 1 ]
    silent_out
done

# ---- tandem-device: small, without GSL and SQLite
device=$build/tandem-device
"$device" --version >out 2>err
ok 'tandem-device --version' grep -qxF 'Licence: Apache-2.0' out
"$device" run $q >out 2>err
ok 'tandem-device run' grep -qF 'quickstart: sim on example-2core' out
"$device" run --help >out 2>err
ok 'tandem-device run --help has options that need GSL or SQLite' [ "$(grep -c -e --store -e --by out)" = 0 ]
"$device" run $q --store x.sqlite >out 2>err && got=0 || got=$?
ok "tandem-device run --store: exit $got, expected 2" [ "$got" = 2 ]
ok 'tandem-device run --store' grep -qF 'tandem-device has no SQLite' err
if command -v ldd >/dev/null; then
    ldd "$device" >out 2>err
    ok 'tandem-device is linked with GSL or SQLite' [ "$(grep -c -e gsl -e sqlite out)" = 0 ]
    ldd "$build/tandem" >out 2>err
    ok 'tandem is not linked with SQLite' grep -q sqlite out
fi
nm "$device" >out 2>err
ok 'tandem-device has symbols of GSL or SQLite' [ "$(grep -c -e ' gsl_' -e ' sqlite3_' out)" = 0 ]

finish
