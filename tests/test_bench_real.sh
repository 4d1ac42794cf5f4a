#!/bin/sh
# tandem bench real on the installed model and comparators: the keys of its JSON, and the laws
# between them.
#
#   sh tests/test_bench_real.sh BUILD_DIR
#
# No time is judged. The oracle's is simulated, so that one measured run on a noisy machine may beat it; decoding alone,
# which the oracle may do, too, is what it is made of.
set -u
build=${1:?usage: test_bench_real.sh BUILD_DIR}
cd "$(dirname "$0")/.." || exit 2
suite=bench_real_cli
stdout=out.txt # out/ is where commands write
stderr=err.txt
. tests/shell.sh
command -v python3 >/dev/null || skip 'python3 is not installed: it reads the report'
installed_model
sh "$root/experiments/setup.sh" comparators installed >/dev/null 2>&1 ||
    skip 'this machine has no comparators: experiments/setup.sh comparators builds them'
data

cat >report.py <<'END'
import json, math, sys

d = json.load(open(sys.argv[1]))
wrong = []

def need(condition, what):
    if not condition:
        wrong.append(what)

def near(a, b):
    return abs(a / b - 1) < 1e-6

def mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios))

TASKS = {'summary', 'rag', 'ui', 'reply'}
for key in ('vs_autoregressive', 'vs_llama_lookup', 'vs_llama_speculative', 'vs_fastest', 'low',
            'high', 'oracle_ceiling', 'gap_closed'):
    need(key in d and (d[key] is None or type(d[key]) in (int, float)), f'{key}: {d.get(key)!r}')
for s in (d, d['with_our_products']):
    if s['oracle_ceiling'] > 1:
        need(near(s['gap_closed'], (s['vs_fastest'] - 1) / (s['oracle_ceiling'] - 1)), 'gap_closed')
    need(s['low'] is None or s['low'] <= s['vs_fastest'] <= s['high'], 'the interval')
need(d['vs_llama_speculative'] is None and d['left_out'], 'SmolLM2 has no draft model')
need(d['vs_fastest'] <= d['vs_llama_lookup'] * 1.000001, 'slower than a comparator in the set')
need(d['with_our_products']['vs_fastest'] <= d['vs_fastest'] * 1.000001, 'the larger set is slower')
need(all(type(x) is str for x in d['missed'] + d['why']) and d['why'], 'reasons')

rows = d['rows']
need({r['task'] for r in rows} == TASKS and len(rows) == len(TASKS), 'tasks')
for r in rows:
    ms = {c['contender']: c['ms'] for c in r['contenders']}
    need(len(ms) == len(r['contenders']), 'contenders of one label')
    programs = [c for c in r['contenders'] if 'program' in c]
    public = [c for c in programs if c['build'] != 'products']
    need(len(ms) - len(programs) == 2 and public, f"{r['task']}: {sorted(ms)}")
    need(near(r['best_comparator_ms'], min(c['ms'] for c in public)), f"{r['task']}: best")
    need(near(r['speculative_ms'], ms['speculative']), f"{r['task']}: ours")
    need(near(r['autoregressive_ms'], ms['autoregressive']), f"{r['task']}: alone")
    need(near(r['ratio'], r['best_comparator_ms'] / r['speculative_ms']), f"{r['task']}: ratio")
    fastest = min(c['ms'] for c in programs)
    need(near(r['ratio_with_our_products'], fastest / ms['speculative']), f"{r['task']}: all")
    first = {c['contender']: c['first_token_ms'] for c in r['contenders']}
    most = first['speculative'] + ms['autoregressive'] - first['autoregressive']
    need(first['speculative'] < r['oracle_ms'] <= most * 1.000001,
         f"{r['task']}: the oracle takes {r['oracle_ms']}, decoding alone {most} after the same prompt")
    need(1 <= r['tokens_per_verification'] <= r['output_tokens'], f"{r['task']}: tokens")
    for c in r['contenders']:
        need(0 < c['first_token_ms'] <= c['ms'], f"{c['contender']}: first token")
        need(0 <= c['accepted'] <= c['drafted'] and c['tokens_per_step'] >= 1, c['contender'])
    drafted = r['drafted_by_position']
    need(drafted == sorted(drafted, reverse=True), f'{drafted}: a draft with a hole')
    for n, share in zip(drafted, r['acceptance_by_position']):
        need((share is None) == (n == 0) and (n == 0 or 0 <= share <= 1), f'{share} of {n}')
if rows:
    need(near(d['vs_fastest'], mean([r['ratio'] for r in rows])), 'no geometric mean')
    alone = [r['autoregressive_ms'] / r['speculative_ms'] for r in rows]
    need(near(d['vs_autoregressive'], mean(alone)), 'no geometric mean of decoding alone')
    ceiling = [r['best_comparator_ms'] / r['oracle_ms'] for r in rows]
    need(near(d['oracle_ceiling'], mean(ceiling)), 'no geometric mean of the oracle')
for m in d['models']:
    need(m['flash_attention'] == (m['flash_ms'] < m['plain_ms']), 'the slower attention')
    widths = {c['width'] for c in m['step_curve']}
    need({1, 2, 4, 8} <= widths, f'step curve of {sorted(widths)}')
    need(all(c['of_width_1'] == 1 for c in m['step_curve'] if c['width'] == 1), 'one row is one')
print('\n'.join(wrong))
sys.exit(bool(wrong))
END

t 0 bench real --model "$model" --prompts 1 --repetitions 1 --tokens 16 --budget 1 --format json
cp "$stdout" report.json
ok 'the report' python3 report.py report.json
t 2 bench real --prompts 0
t 1 bench real --model nowhere.gguf --budget 1
err nowhere.gguf
finish
