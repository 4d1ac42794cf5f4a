#!/bin/sh
# tandem explain, validate --published and reproduce negatives: what they print, what they refuse, and
# that every option and every number of a device file changes some of it.
#
#   sh tests/test_explain.sh BUILD_DIR
#
# Runs in a scratch folder that has the sources' data.
set -u
build=${1:?usage: test_explain.sh BUILD_DIR}
cd "$(dirname "$0")/.." || exit 2
suite=explain
. tests/shell.sh
data

has() { out "$@"; }
says() { err "$@"; }

# ---- what is printed: 3 operators of one row by hand; the rates are AI Hub's for the 3B model
t 0 explain --device oneplus-13 --model llama-3.2-3b --width 1 --context 7 --format csv
has 'operator,on,layers,m,n,k,MFLOP,kB,us,limit,launch us,compute us,memory us,copy us,mJ,marks,source'
has 'attn_q,npu,28,1,3072,3072,18.874,4730.9,125.162,memory,'
has 'attention,npu,28,1,8,3072,0.099,'
has 'Qualcomm AI Hub v0.46.1'
has 'step,qnn w4a16,'
t 0 explain --model qwen2.5-1.5b --backend mllm --format json
array
has '"limit": "unknown"'
has 'at least '
t 0 explain --device hwmodels/devices/example-2core.yaml --width 8 --context 150
has '17000.000  measured'
has '650.000  stated'
t 0 explain --device example-2core --format csv --set device.processors.cpu:0.step.change='700 us'
has 'step: more after another shape,cpu:0,all,,,,,,700.000,stated,'
has 'prefill: more after another shape,cpu:0,all,,,,,,0.000,assumed,'
# what was measured both ways, by kinds of steps, and what stands for a kind that has none
sed '/^        - {width: 8, bucket: 3, samples: \[21100\]}/a\
        - {width: 1, bucket: 1, changed: 1, samples: [5410]}\
        - {width: 1, bucket: 3, changed: 1, samples: [7530]}\
        - {width: 8, bucket: 1, changed: 1, samples: [17100]}' hwmodels/devices/example-2core.yaml >both.yaml
few=device.processors.cpu:0.step.axes.few
t 0 explain --device both.yaml --format csv
has 'step: more after another shape,cpu:0,all,,,,,,30.000,measured,'
has ' VM: median of its cells, 3"'
t 0 explain --device both.yaml --format csv --set $few=4
has 'step of up to 4 rows: more after another shape,cpu:0,all,,,,,,20.000,measured,'
has ' VM: median of its cells, 2"'
has 'step of more than 4 rows: more after another shape,cpu:0,all,,,,,,100.000,measured,'
has 'step of more than 4 rows: more after the other kind,cpu:0,all,,,,,,100.000,measured,'
has ' VM: median after the other change, of either kind, 1"'
t 0 explain --device both.yaml --format csv --set $few=64
has 'step of more than 64 rows: more after another shape,cpu:0,all,,,,,,30.000,measured,'
has " VM: median of the other kind's cells, 3\""
for option in '--model llama-3.2-3b' '--blocks 0..1' '--head-rows 1' '--attended 9' '--backend cpu' '--datatype q4' \
    '--attention cpu' '--layout mllm' '--phase prefill' --sleeping; do
    # shellcheck disable=SC2086 # an option and its value
    t 2 explain --device example-2core --width 8 $option
    says "device 'example-2core' has whole steps of SmolLM2-135M-Instruct.Q4_0.gguf: remove '${option%% *}'"
done
t 0 explain --device hwmodels/devices/example-2core.yaml --width 9 --context 9000
has extrapolated

# ---- what is wrong
t 2 explain --device redmi-k60-pro
says 'which --model?'
t 2 explain --model qwen9
says "--model is 'qwen9': expected the path of a file, or the name of one in hwmodels/models: baichuan2-7b, "
t 2 explain --device phone --model qwen2.5-1.5b
says "--device is 'phone': expected the path of a file, or the name of one in hwmodels/devices: epyc"
t 2 explain --model qwen2.5-1.5b --blocks 4
says "--blocks '4': expected a..b"
t 1 explain --model qwen2.5-1.5b --blocks 0..99
says 'expected a part of 0..28'
t 2 explain --model qwen2.5-1.5b --processor tpu
says 'no such processor, backend and datatype'
t 2 explain --model qwen2.5-1.5b --attention tpu
says "no processor 'tpu'"
t 2 explain --model qwen2.5-1.5b --layout two
says 'expected one of one, mllm, mllm-pairs'
t 2 explain --model qwen2.5-1.5b --sleeping
says '--sleeping: one graph waits for no other processor'
t 2 explain --model qwen2.5-1.5b --layout mllm-pairs
says '--layout mllm-pairs: which processor computes --attention?'
t 2 explain --model qwen2.5-1.5b --head-rows 1 --blocks 0..4
says '--head-rows: these --blocks end before the head'
for option in '--width 4' '--context 4' '--processor cpu' '--model qwen2.5-1.5b' --sleeping; do
    # shellcheck disable=SC2086 # an option and its value
    t 2 explain --mechanisms $option
    says "--mechanisms are the device's, whatever the step: remove '${option%% *}'"
done
t 1 run experiments/quickstart.yaml --set device=../hwmodels/devices/oneplus-13.yaml
t 2 validate --published --quick
says "'--published' measures nothing: remove '--quick'"

# ---- every option changes what is printed
base='explain --device oneplus-13 --model llama-3.2-1b --width 8 --context 64 --backend mnn --format csv'
t 0 $base
cp out base.csv
differs()
{
    t 0 $base "$@"
    ok "$*: changes nothing" sh -c '! cmp -s out base.csv'
}
base_of=$base
for change in '--width 8=--width 40' '--context 64=--context 65' '--backend mnn=--backend qnn' \
    '--model llama-3.2-1b=--model llama-3.2-3b' '--device oneplus-13=--device redmi-k60-pro'; do
    base=$(printf '%s' "$base_of" | sed "s/${change%%=*}/${change#*=}/")
    differs
done
base=$base_of
differs --attended 4096
differs --head-rows 1
differs --blocks 0..3
differs --processor cpu
differs --datatype int4 --processor gpu
differs --attention gpu
differs --layout mllm --attention cpu --sleeping
cp out mllm.csv
differs --layout mllm-pairs --attention cpu --sleeping
ok 'layouts are equal' sh -c '! cmp -s out mllm.csv'
differs --layout mllm --attention cpu # polling is not known
has 'mllm,"17 graphs, 32 edges"'
has unknown

# ---- every number of a device changes it
base='explain --device redmi-k70-pro --model llama-3.2-1b --width 40 --context 64 --backend heteroinfer
    --format csv'
t 0 $base
cp out base.csv
k=device.processors.npu.operators.1.kernels.0
for set in "$k.launch=200 us" "$k.peak=2 TFLOPS" "$k.bandwidth=1 GB/s" "$k.tile=1" \
    "$k.overlap=false" "$k.hidden_launch=true" "$k.order_permille=1000" "$k.copy=3 GB/s" "$k.from=64" "$k.to=8" \
    "$k.included=false" 'device.bus.paths.npu-qnn.cap=1 GB/s' "$k.path=npu-vector"; do
    t 0 $base --set "$set"
    case $set in
    *included=false | *path=*) ok "$set: no change was expected" cmp -s out base.csv ;;
    *) ok "$set: changes nothing" sh -c '! cmp -s out base.csv' ;;
    esac
done
k=device.processors.npu.operators.0.kernels
qnn='explain --device redmi-k70-pro --model llama-3.2-1b --backend qnn --width 8 --format csv'
t 0 $qnn
cp out base.csv
for set in device.processors.npu.power.decode='1 W' device.bus.energy='60 pJ/B' \
    device.processors.npu.operators.0.activation_bytes=1 \
    device.processors.npu.operators.0.kv_bytes=1 \
    device.processors.npu.operators.0.weights=W8 $k.1.included=false; do
    t 0 $qnn --set "$set"
    ok "$set: changes nothing" sh -c '! cmp -s out base.csv'
done
t 0 $qnn --phase prefill
ok '--phase changes nothing' sh -c '! cmp -s out base.csv'
one='explain --device oneplus-13 --model llama-3.2-1b --backend mnn --width 8 --layout mllm --attention cpu --format csv'
t 0 $one
cp out base.csv
t 0 $one --set device.sync.cpu-npu.polling='9 us'
ok 'polling changes nothing' sh -c '! cmp -s out base.csv'
t 0 $one --sleeping
cp out base.csv
t 0 $one --sleeping --set device.sync.cpu-npu.sleeping='9 us'
ok 'sleeping changes nothing' sh -c '! cmp -s out base.csv'
# attention on a CPU between an NPU's products costs its time: 4 m n k + 5 m n heads at 296 GFLOPS
on_cpu='explain --device oneplus-13 --model qwen2.5-1.5b --width 256 --attention cpu --layout mllm --sleeping --format csv'
t 0 $on_cpu
has 'attention,cpu,28,256,256,1536,406.585,2097.2,1373.599,compute,'
has 'assumed: no attention of this CPU was timed'
has 'mllm,"29 graphs, 56 edges",,,,,802177.942,2160023.6,135312.092,'
t 0 $on_cpu --context 4000
has 'attention,cpu,28,256,4256,1536,6759.481,6193.2,22836.086,compute,'
has 'mllm,"29 graphs, 56 edges",,,,,980059.030,2274711.6,736261.728,'
t 0 $on_cpu --set device.processors.cpu.operators.0.kernels.1.peak=null
has 'attention,cpu,28,256,256,1536,406.585,2097.2,unknown,unknown,'
has 'mllm,"29 graphs, 56 edges",,,,,802177.942,2160023.6,unknown,'
# its energy is that of its own processor
powers='--set device.processors.npu.power.decode=4W --set device.processors.cpu.power.decode'
t 0 $on_cpu $powers=4W
cp out base.csv
t 0 $on_cpu $powers=8W
ok 'the power of attention changes nothing' sh -c '! cmp -s out base.csv'
t 0 $on_cpu --set device.processors.npu.power.decode=4W
has 'step,qnn w4a16,,,,,802177.942,2160023.6,123440.092,,,,,,unknown,'

# ---- the bus: a step alone gets what its path and the DRAM give, as in a run
phone="explain --device oneplus-13 --model llama-3.2-3b --width 1 --context 7 --format csv"
t 0 $phone --set device.bus.dram='1 GB/s'
has 'attn_q,npu,28,1,3072,3072,18.874,4730.9,4718.592,dram,0.000,64.944,4718.592,'
has 'as the 8 Gen 3'
t 0 $phone --set device.bus.dram='60 GB/s' # above the rates
has 'attn_q,npu,28,1,3072,3072,18.874,4730.9,125.162,memory,'
t 0 $phone --backend mnn --processor gpu --set device.bus.paths.gpu.cap='1 GB/s'
has 'attn_q,gpu,28,1,3072,3072,18.874,4730.9,4718.592,bus,'
has "0.000,,,not found; HeteroInfer"
t 0 $phone --backend mnn --processor gpu --set device.bus.paths.gpu.cap='2 GB/s' --set device.bus.dram='1 GB/s'
has ',4718.592,dram,'
t 0 explain --model llama-3.2-1b --backend mllm --width 64 --blocks 0..1 --set device.bus.dram='1 GB/s' --format csv
has 'attn_q,npu,1,64,2048,2048,536.871,4456.4,4194.304,dram,' # measured: 900 us
has 'HeteroInfer (arXiv 2501.14794) section 3.3, Fig. 5'
t 0 explain --device example-2core --width 8 --context 150 --format csv --set device.bus.dram='1 GB/s'
has 'step,cpu:0,all,8,,,,79425.8,79425.792,dram,'
t 0 explain --device example-2core --width 8 --context 150 --format csv --set device.bus.dram='5 GB/s'
has 'step,cpu:0,all,8,,,,79425.8,17000.000,measured,'

# ---- what mechanisms rest on
t 0 explain --device redmi-k70-pro --mechanisms --format csv
has 'mechanism,status,why'
has 'bus sharing,sourced,'
has 'thermal,unknown,'
has 'load beside compute,assumed,'
cp out base.csv
for set in device.bus.dram=null device.bus.shared=null device.storage.read='[]' \
    device.sync.cpu-gpu.sleeping=null device.bus.energy='3 pJ/B'; do
    t 0 explain --device redmi-k70-pro --mechanisms --format csv --set "$set"
    ok "$set: changes no status" sh -c '! cmp -s out base.csv'
done
t 0 explain --device oneplus-13 --mechanisms --format csv
has 'bus sharing,unknown,'
has 'storage,unknown,'
t 0 explain --device hwmodels/devices/example-2core.yaml --mechanisms --format csv
has 'changed shape,sourced,'
has 'bus sharing,unknown,'
has 'power,unknown,'
t 0 explain --device hwmodels/devices/example-2core.yaml --mechanisms --format csv \
    --set device.bus.dram='9 GB/s'
has 'bus sharing,assumed,'

# ---- published measurements
t 0 validate --published
has 'All: 489 points'
has 'What is left: in '
has 'Floor: '
has 'Left out, before any model was fitted:'
has 'Verdict: '
ok 'not a row for each group' [ "$(grep -c '^[a-z0-9.-]*  *snapdragon-' out)" = 53 ]
# the largest groups take their time: without them from here on
points=experiments/published/points.yaml
cp $points whole
awk '/- name: mnn-/ { skip = 1 } /- name: s3-/ { skip = 0 } !skip' whole >points
cp points $points
t 0 validate --published --format csv
has 'group,soc,backend,datatype,operator,points,allowed,parameters,median pct,p90 pct,worst pct,fitted pct,twins pct,floor pct,form,verdict'
has 'heteroinfer-prefill,snapdragon-8-gen-3,heteroinfer,w4a16,step,2,0,0,,,,,,,,not predictable'
t 0 validate --published --format json
cp out first
for change in 'time: 0.9 ms=time: 0.8 ms' 'kernel_from: 5=kernel_from: 3' 'per_call: 6=per_call: 2' 'tile: 32=tile: 1' \
    'groups: .heteroinfer-decode.=groups: [heteroinfer-prefill]'; do
    sed "s/${change%%=*}/${change#*=}/" points >$points
    ok "$change: not in the points" sh -c "! cmp -s points $points"
    t 0 validate --published --format json
    ok "$change: changes nothing" sh -c '! cmp -s out first'
done
sed 's/time: 0.9 ms/time: fast/' points >$points
t 1 validate --published
says 'experiments/published/points.yaml:'

# ---- negative results
cp whole $points
t 0 reproduce negatives
# All but two signs come out; no bar and no reading of a source is chosen so that those do.
ok 'another sign does not come out' [ "$(grep -c 'the sign comes out$' out)" = 11 ]
ok 'another two rows do not' [ "$(grep '^OnePlus 15 NPU' out | grep -c 'does NOT come out$')" = 1 ]
ok 'another naive NPU does not' [ "$(grep '^HeteroInfer, naive' out | grep -c 'does NOT come out$')" = 1 ]
has 'GPU and NPU share a product, fast synchronisation'
has 'Open: '
ok 'not 13 rows' [ "$(grep -c '^negatives  ' out)" = 13 ]
t 0 reproduce negatives --format csv
cp out first
f=experiments/published/negatives.yaml
cp $f kept
for change in 'value: 8.1=value: 6' 'value: 10.7=value: 20' 'value: 450=value: 900' 'value: 3300=value: 9999' \
    'value: 408.4=value: 900' 'value: 2050=value: 9999' 'order: {value: 6=order: {value: 5' \
    'published: 0.985=published: 0.9'; do
    sed "s/${change%%=*}/${change#*=}/" kept >$f
    t 0 reproduce negatives --format csv
    ok "$change: changes nothing" sh -c '! cmp -s out first'
done
sed 's/value: 5.1,/value: 3.9,/' kept >$f
t 0 reproduce negatives
has 'a model of 3.9 GiB fits 4.0 GiB'
sed '/prepare_135_ms/d' kept >$f
t 1 reproduce negatives
says 'prepare_135_ms'
cp kept $f
f=hwmodels/devices/redmi-k70-pro.yaml
cp $f kept
for change in 'name: cpu-gpu=name: gpu-dsp' 'sleeping: 400 us=sleeping: null'; do
    sed "s/${change%%=*}/${change#*=}/" kept >$f
    t 1 reproduce negatives
    says "device 'redmi-k70-pro' does not say how long cpu-gpu takes asleep"
done
sed 's/backend: heteroinfer/backend: other/' kept >$f
t 1 reproduce negatives
says "has no backend 'heteroinfer'"

finish
