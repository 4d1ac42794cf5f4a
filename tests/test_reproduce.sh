#!/bin/sh
# tandem reproduce: the rows that it promises, what it refuses, and that a seed fixes every byte.
#
#   sh tests/test_reproduce.sh BUILD_DIR
#
# Runs in a scratch folder that has the sources' data.
set -u
build=${1:?usage: test_reproduce.sh BUILD_DIR}
cd "$(dirname "$0")/.." || exit 2
suite=reproduce_cli
always=reproduce
. tests/shell.sh
data recorded

has() { out "$@"; }
says() { err "$@"; }

# ---- what there is
t 0
for name in audit table3 table4 ranges fig5 fig6 fig13 memory negatives bus; do
    ok "$name is not in the list" grep -q "^$name  " out
done
t 2 tabel3
says "nothing to reproduce is called 'tabel3': expected one of all, audit, table3"
t 2 audit table3
says "unexpected argument 'table3'"

# ---- rows
header=target,cell,published,simulated,error_pct,role,reading,low,high
t 0 all --format csv
mv out all.csv
ok "all: the cells' header is not there once" [ "$(grep -c "^$header\$" all.csv)" = 1 ]
ok "all: a number that was used to fit, read as if none was" \
    [ "$(grep -c ',calibrated,\(zero-fit\|null\),' all.csv)" = 0 ]
t 0 all --format json --seed 2
ok "all: not an array" [ "$(head -c 1 out)" = "[" ]
# every row of a cell has each key once; the error is a number; roles and readings are of the stated words
ok "all: rows and keys differ in number" awk '
    /"target":/ { other = /"(acceptance|choices)"/ }
    other { next }
    /"cell":/ { rows++ }
    /"published":/ || /"simulated":/ || /"low":/ || /"high":/ { keys++ }
    /"error_pct": -?[0-9]/ { errors++ }
    /"role": "(calibrated|predicted|shown)"/ { roles++ }
    /"reading": "(zero-fit|leave-one-model-out|all|null)"/ { readings++ }
    END { exit !(rows > 100 && keys == 4 * rows && errors == rows && roles == rows &&
                 readings == rows) }' out
ok "all: null or a text for an error" [ "$(grep -c '"error_pct": [^-0-9]' out)" = 0 ]
if command -v python3 >/dev/null; then
    ok "all is no JSON" sh -c 'python3 -m json.tool out >/dev/null'
fi
for target in audit table3 table4 ranges fig5 fig6 fig13 memory bus; do
    ok "all has no row of $target" grep -q "\"target\": \"$target\"" out
done
awk -F'[:,]' '
    /"target":/ { t = $2 }
    /"simulated":/ && t ~ /table3/ { v = $2 + 0 }
    /"reading":/ && t ~ /table3/ { print v, ($2 ~ /null/ ? "null" : "") }' out >other.t3

# ---- table 4: 24 published cells with Ours and without, beside each model at hand; Ours gains
for model in SmolLM2-135M TinyLlama-1.1B; do
    ok "table4: rows of $model are missing" \
        [ "$(grep -c "^table4,\".* of .*, here $model\"" all.csv)" = 48 ]
done
ok "table4: Ours does not gain, here or there" awk -F'"' '
    /^table4,"gain over/ { split($3, v, ","); n++; bad += v[2] <= 1.05 || v[3] <= 1 }
    END { exit !(n == 4 && !bad) }' all.csv

# ---- switching: what each column holds, of the coarser grid
ok "all: switching has no rows of every part" awk -F, '
    /^target,part,/ { for (i = 1; i <= NF; i++) at[$i] = i; next }
    /^switching,/ { n[$at["part"]]++ }
    END { exit !(n["grid"] >= 8 * 11 && n["belief"] > 100 && n["back"] == 18 && n["map"] > 80) }' all.csv
# scheme names hold commas: quoted, and taken out first
sed 's/"\([^",]*\), [^"]*"/\1+/' all.csv >plain.csv
ok "switching: sync-switch does not wait for a load" awk -F, '
    /^target,part,/ { for (i = 1; i <= NF; i++) at[$i] = i; next }
    /^switching,grid,.*,sync-switch,/ {
        n++
        bad += $at["delay_ms"] != 1000 * $at["load_s"]
    }
    END { exit !(n == 16 && !bad) }' plain.csv
ok "switching: something beats the optimum, or it is not proved" awk -F, '
    /^target,part,/ { for (i = 1; i <= NF; i++) at[$i] = i; next }
    /^switching,grid,/ { n += $at["gap_pct"] > 0; bad += substr($at["gap_pct"], 1, 1) == "-" }
    /^switching,grid,.*simulation only/ {
        proved += $at["proved"] == "yes" && $at["bound_ms"] == $at["incumbent_ms"]
        bad += !($at["bound_ms"] > 0)
    }
    END { exit !(n > 20 && !bad && proved == 16) }' plain.csv

# ---- table 3: the null predictor's cells are those that leaving a model out foretells
grep '^table3,' all.csv >t3.csv
for reading in null leave-one-model-out; do
    awk -F, -v r=$reading '$7 == r && $6 == "predicted" { print $2 }' t3.csv | sort >"$reading.cells"
done
ok "table3: null and leave-one-model-out cover different cells" cmp -s null.cells \
    leave-one-model-out.cells
ok "table3: not seven cells are foretold" [ "$(wc -l <null.cells)" -eq 7 ]
ok "table3: a null row that is not predicted" \
    [ "$(awk -F, '$7 == "null" && $6 != "predicted"' t3.csv | wc -l)" -eq 0 ]
for cell in NPU +SD; do
    ok "table3: $cell is not only shown" \
        [ "$(awk -F, -v c=" $cell" 'substr($2, length($2) - length(c) + 1) == c && $6 != "shown"' \
            t3.csv | wc -l)" -eq 0 ]
done
ok "table3: an identity is scored" [ "$(grep -c \
    '^table3,\(Qwen2.5-1.5B\|LLaMA3.2-3B\) +G+SD,.*\(predicted\|calibrated\)' t3.csv)" = 0 ]
for reading in zero-fit leave-one-model-out all; do
    ok "table3: not 15 rows of $reading" \
        [ "$(awk -F, -v r=$reading '$7 == r' t3.csv | wc -l)" -eq 15 ]
done

# ---- another seed gives other rows, but for what is not sampled; the same one, tests/test_reproduce.c
awk -F, '{ print $4 + 0, $7 == "null" ? "null" : "" }' t3.csv >one.t3
ok "table3: seeds differ in the number of rows" [ "$(wc -l <one.t3)" = "$(wc -l <other.t3)" ]
ok "another seed gives the same rows" sh -c '! cmp -s one.t3 other.t3'
grep null one.t3 >null.1
grep null other.t3 >null.2
ok "a seed changes what is not sampled" cmp -s null.1 null.2

# ---- acceptance: every drafter at every width, of every task
t 0 acceptance --format json
ok "acceptance: rows are missing" awk '
    /"model":/ { model[$2] = 1 }
    /"task":/ { task[$2] = 1 }
    /"width":/ { width[$2] = 1 }
    /"drafter":/ { drafter[$2]++ }
    /"drafter": "suffix/ { suffix[$2] = 1 }
    /"(tokens_per_verification|low|high)": [0-9]/ { numbers++ }
    END {
        for (m in model) models++
        for (t in task) tasks++
        for (w in width) widths++
        for (d in drafter) { drafters++; rows += drafter[d] }
        for (s in suffix) suffixes++
        exit !(models == 2 && tasks == 4 && widths == 3 && drafters >= 5 && suffixes == 1 &&
               drafter["\"oracle\","] && drafter["\"aligned\","] && drafter["\"suffix\","] &&
               rows == models * tasks * widths * drafters && numbers == 3 * rows)
    }' out
t 0 acceptance
has 'ratio to suffix, geometric mean'
ok "acceptance: aligned is under its bar at width 32" awk '
    /^  aligned  +[0-9]/ { n++; bad += $10 < 1.10 || substr($11, 2) + 0 <= 1.0 }
    END { exit !(n == 1 && !bad) }' out
has 'history of n responses'
t 0 rejection
has 'Eq. 3 finds a run'
ok "rejection: not four causes of each model" [ "$(grep -c '^rejection .*, here' out)" = 8 ]
t 0 choices
has 'Time to the first token on epyc-2core-vnni-smollm2'
t 0 choices --format csv
ok "choices: rows are missing, or reuse is shown of a trace that cannot" awk -F, '
    /^choices,/ && $3 == "oracle" { oracles++; bad += $6 < 2; next }
    /^choices,/ { n[$2]++; widths[$5] = 1; bad += $6 < 0.5 || $6 > 2; reuse[$2] += $3 == "reuse" }
    END {
        for (w in widths) all++
        exit !(n["SmolLM2-135M"] == 50 * 3 && n["TinyLlama-1.1B"] == 40 * 3 && all == 3 && !bad &&
               oracles == 6 && reuse["SmolLM2-135M"] == 9 && !reuse["TinyLlama-1.1B"])
    }' out

# ---- notes
t 0 audit
for check in 1 2 3 4 5 6 7 8 9 10 11 12 13; do
    ok "audit: check $check is not there" grep -q "^ *$check\. .*: \(holds\|contradicts\|caution\)\$" out
done
has 'NPU - (+G) = 57.41 - 47.72 = 9.69; (+SD) - (+G+SD) = 35.04 - 25.35 = 9.69'
has 'NPU / Ours = 57.41 / 15.08 = 3.807'
has 't(n) = 46.9 + 4.235 n ms'
has '18.75 / 7.17 = 2.62, published 1.11..2.53'
has 'median 4.4 %, worst 99 and 124 %'
t 0 bus --format csv
ok "bus: the pair that the device file was not made from is off" awk -F, '
    /CPU and NPU by DMA/ { n++; bad += $7 > 2 || $7 < -2 || $8 != "predicted" }
    END { exit !(n == 1 && !bad) }' out
t 0 fig6
has 'throughput lost at 8 against 64, percent'

# ---- the whole of switching: the map's picture has the numbers of the map's rows, and no others
if command -v gnuplot >/dev/null; then
    t 0 switching --format csv --picture map.svg
    sed 's/"\([^",]*\), [^"]*"/\1+/' out >whole.csv
    awk -F, '/^target,/ { for (i = 1; i <= NF; i++) at[$i] = i }
        /^switching,map/ && $at["gain_pct"] != "" { print $at["gain_pct"] }' whole.csv | sort -n >table
    grep -A1 'font-size="8' map.svg | sed -n 's/.*<text>.*>\(-*[0-9][0-9.]*\)<.*/\1/p' | sort -n >labels
    ok "the map's picture has not its table's numbers" sh -c 'paste table labels | awk "
        { d = \$1 - \$2; n++; bad += NF != 2 || d > 0.0551 || d < -0.0551 }
        END { exit !(n >= 300 && !bad) }"'
    ok "whole switching: the optimum is not proved in every case, or a bound is above it" awk -F, '
        /^target,/ { for (i = 1; i <= NF; i++) at[$i] = i }
        /^switching,grid,.*simulation only/ {
            n++
            proved += $at["proved"] == "yes" && $at["bound_ms"] == $at["incumbent_ms"]
            bad += $at["bound_ms"] > $at["incumbent_ms"] || !($at["bound_ms"] > 0)
        }
        END { exit !(n == 2 * 7 * 5 * 5 && proved == n && !bad) }' whole.csv
fi
t 2 audit --picture audit.svg
says 'no picture is drawn of audit: expected table3 or switching'
t 2 all --picture all.svg
says 'no picture is drawn of several at once'
ok 'a picture of what is refused' [ ! -e audit.svg ]

# ---- what is wrong in a file is named by its place
f=experiments/published/switching.yaml
cp $f kept
sed 's/wide: 256$/wide: 20/' kept >$f
t 1 switching
says "graphs.narrow is '32': expected a whole number from 1 to 20"
sed 's/description: q/describe: q/' kept >$f
t 1 switching
says "'description' is missing"
sed 's/description: qwen2.5-1.5b/description: qwen2.5-1.6b/' kept >$f
t 1 switching
says "expected a model of hwmodels/models"
sed 's/weights: W8/weights: W9/' kept >$f
t 1 switching
says "W9"
sed 's/tandem-published-switching-1/tandem-published-1/' kept >$f
t 1 switching
says "expected 'tandem-published-switching-1'"
sed 's/blocks: \[1, 2/blocks: [15, 2/' kept >$f
t 1 switching
says "15"
cp kept $f
f=experiments/published/audit.yaml
cp $f kept
sed 's/npu: {value: 57.41, /npu: {value: fast, /' kept >$f
t 1 audit
says "tandem: $f:11:18: table3.q15.npu.value is 'fast': expected a number"
sed 's/value: 57.41, unit: ms\/token/value: 57.41, unit: s\/token/' kept >$f
t 1 audit
says "$f:11:31: table3.q15.npu.unit is 's/token': expected the unit 'ms/token'"
sed 's/    npu: {value: 57.41/    cpu: {value: 57.41/' kept >$f
t 1 audit
says "$f:11:5: 'npu' is missing: is 'cpu' meant to be it"
sed 's/^schema: .*/schema: tandem-published-9/' kept >$f
t 1 all --format json
says "$f:3:9: schema is 'tandem-published-9': expected tandem-published-1"
ok 'reproduce all: rows beside an error' [ ! -s out ]
cp kept $f
f=experiments/published/table3.yaml
cp $f kept
sed 's/{low: 0.2, high: 3, scale: log/{low: 4, high: 3, scale: log/' kept >$f
t 1 table3
says "expected more than 0 and less than its \`high\`, 3"
sed 's/choices: \[2, 4, 8\]/choices: [2]/' kept >$f
t 1 table3
says 'expected 2 to 8 choices'
sed 's/  decode: g2/  decode: g1/' kept >$f
t 1 table3
says "expected 'nothing' exactly where decode is g1"
sed 's/strict: {value: 5,/strict: {value: 10,/' kept >$f
t 1 table3
says 'expected less than the loose one, 10'

finish
