#!/bin/sh
# validate, profile and observe as their users meet them: the report, the store, killing and going on.
#
#   sh tests/test_validate.sh BUILD_DIR [real]
#
# Everything runs on the toy engine; with `real` only one short validation runs, on the installed
# model. No time is judged: what is demanded holds however slow or noisy the machine is.
set -u
build=${1:?usage: test_validate.sh BUILD_DIR [real]}
real=${2:-}
cd "$(dirname "$0")/.." || exit 2
suite=validate${real:+_real}
stdout=out.txt # out/ is where commands write
stderr=err.txt
. tests/shell.sh
command -v python3 >/dev/null || skip 'python3 is not installed: it reads the reports and the stores'
data

# Prints what is wrong with a report, and fails then: FILE PROMPTS REPETITIONS.
cat >report.py <<'END'
import json, os, sys

d = json.load(open(sys.argv[1]))
n_prompts, n_repetitions = int(sys.argv[2]), int(sys.argv[3])
wrong = []

def need(condition, what):
    if not condition:
        wrong.append(what)

# Null is for what was not there to be measured: no token after the first of any prompt.
one_token = d['by_policy'][0]['tokens_per_verification'] is None

def number(x, key):
    return x is None if key == 'tpot_error_pct' and one_token else type(x) in (int, float)

kinds = {'engine': str, 'device': str, 'roles': dict, 'host': str, 'model': str, 'prompts': int, 'policies': list,
         'repetitions': int, 'controls': dict, 'replay_equal': bool, 'extrapolated': int,
         'verdict': str, 'why': str}
for key, kind in kinds.items():
    need(type(d.get(key)) is kind, f'{key} is {d.get(key)!r}, no {kind.__name__}')
for key in ('e2e_error_pct', 'e2e_error_raw_pct', 'e2e_error_frozen_pct', 'ttft_error_pct',
            'tpot_error_pct', 'floor_pct'):
    fields = ('median', 'p90') if key == 'floor_pct' else ('median', 'p90', 'max', 'bias')
    x = d.get(key)
    need(isinstance(x, dict) and set(x) >= set(fields), f'{key} is {x!r}')
    for f in fields:
        need(isinstance(x, dict) and number(x.get(f), key), f'{key}.{f} is no number')
# Blind: there, or all of it null and a reason; the errors are those of its tasks and policies.
blind, why_not = d.get('blind_by_task', []), d.get('blind_why_not')
need(type(why_not) is str and (why_not == '') == bool(blind), f'blind: {why_not!r}, {len(blind)} rows')
need(why_not or len(blind) % len(d['policies']) == 0, 'blind lacks a policy of a task')
for key, stats in (('blind_error_mean_pct', ('mean',)), ('blind_error_p90_pct', ('p90',)),
                   ('blind_error_pct', ('mean', 'p90'))):
    x = d.get(key, {})
    if why_not:
        need(set(x) == {'median', 'p90', 'max', 'bias'} and set(x.values()) == {None}, f'{key}: {x}')
        continue
    signed = [100 * (row[f'predicted_{s}_ns'] / row[f'measured_{s}_ns'] - 1)
              for row in blind for s in stats]
    n = len(signed)
    need(abs(x['max'] - max(map(abs, signed))) < 1e-6, f'{key}: {x}, not the rows\' largest')
    need(abs(x['bias'] - sum(signed) / n) < 1e-6, f'{key}: {x}: bias')
for key in ('blind_tau', 'blind_resolved_pairs', 'blind_regret_pct'):
    there = type(d.get(key)) in (int, float)
    need(key in d and there == (not why_not), f'{key} is {d.get(key)!r}')
tasks = len({row['task'] for row in blind})
for i, name in enumerate(d['policies']):  # prompts are spread evenly
    mean = sum(row['measured_mean_ns'] for row in blind if row['policy'] == name)
    need(why_not or n_prompts % tasks or
         abs(mean * n_prompts / tasks / d['by_policy'][i]['measured_ns'] - 1) < 1e-6,
         f'{name}: the tasks\' means are not those of what was measured')
for key in ('kendall_tau', 'resolved_pairs', 'regret_pct', 'tokens_equal'):
    need(key in d and number(d[key], key), f'{key} is {d.get(key)!r}')
need(d.get('divergence') is not None, 'divergence is null')
need(d.get('resolved_pairs') or d.get('kendall_tau') == 0, 'a tau of no pair')
need(d.get('blind_resolved_pairs') or not d.get('blind_tau'), 'a blind tau of no pair')
need(d.get('tokens_equal') == 1, 'tokens_equal is not 1')
need(d.get('replay_equal') is True, 'replay_equal is not true')
need(d.get('verdict') in ('passed', 'failed', 'inconclusive'), 'no such verdict')
need((d.get('verdict') == 'passed') == (d.get('why') == ''), 'why does not go with the verdict')
need(d.get('prompts') == n_prompts, f"{d.get('prompts')} prompts")
need(d.get('repetitions') == n_repetitions, f"{d.get('repetitions')} repetitions")
need(len(set(d.get('policies', []))) >= 8, 'fewer than eight policies')
need(set(d.get('controls', {})) >= {'constant_step', 'width_without_context',
                                    'context_without_width', 'permuted_width'}, 'controls lack')
need(set(d.get('controls', {}).values()) <= {'missed', 'passed'}, 'a control says something else')
need('passed' not in d.get('controls', {}).values() or d['verdict'] == 'inconclusive',
     'a control passes, and the verdict is not inconclusive')
oracle, alone = d.get('oracle_ceiling', {}), d['by_policy'][0]['predicted_ns']
for key in ('predicted_ns', 'vs_autoregressive'):
    need(type(oracle.get(key)) in (int, float), f'oracle_ceiling.{key} is {oracle.get(key)!r}')
need(oracle and abs(alone / oracle['predicted_ns'] / oracle['vs_autoregressive'] - 1) < 1e-6,
     f'{oracle}, alone {alone}')
if one_token:  # nothing is drafted
    need(oracle.get('tokens_per_verification', 0) is None, f'{oracle}: steps that there were not')
else:
    need(oracle and oracle['predicted_ns'] < alone and oracle['tokens_per_verification'] > 1,
         f'no step of more than one row pays for an oracle: {oracle}')
for name, why in (('threads', 'no threads' if d.get('model') == 'toy' else ''), ('context', '')):
    x = d.get('interventions', {}).get(name, {})
    rows = x.get('by_policy', [])
    need(why in x.get('why_not', '') and (why != '') == (x.get('why_not') != ''), f'{name}: {x!r}')
    need(bool(rows) == (why == ''), f'{name} has {len(rows)} policies')
    for row in rows:
        p, m, err = (row.get(k) for k in ('predicted_change_pct', 'measured_change_pct', 'error_pct'))
        need(abs((1 + p / 100) / (1 + m / 100) - 1 - err / 100) < 1e-6, f'{name}: {row!r}')
need('=' not in d.get('device', '='), 'device is the roles')
need(set(d.get('roles', {})) == {'target', 'draft'}, f"roles: {d.get('roles')!r}")
need(d.get('host', '').startswith(os.uname().sysname + ' '), f"host: {d.get('host')!r}")
for what in wrong:
    print('  ' + what)
sys.exit(bool(wrong))
END

# report FILE PROMPTS REPETITIONS
report() { ok "the report of tandem $last" python3 report.py "$@"; }

# rows STORE: its runs
rows() { python3 -c "import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM run').fetchone()[0])" "$1"; }

# ---- on the installed model
if [ "$real" ]; then
    installed_model
    cat >two.jsonl <<'END'
{"id": "one", "task": "count", "prompt": "one two three one two three one two", "max_tokens": 8}
{"id": "two", "task": "say", "prompt": "The sea is blue. The sea is", "max_tokens": 8}
END
    t 0 validate --model "$model" --workload two.jsonl --repetitions 2 --rounds 1 --budget 1 \
        --ctx 512 --format json
    report out/validate.json 2 2
    ok 'the report and standard output differ' cmp -s out.txt out/validate.json
    finish
fi

v='validate --engine toy --budget 1 --prompts 4 --repetitions 2'

# Every report lists the policies; runs are policies x prompts x repetitions.
policies() { python3 -c "import json; print(len(json.load(open('out/validate.json'))['policies']))"; }

# ---- what it prints; the files, in a folder that was not there
t 0 $v
silent_err
out 'engine toy, model toy, toy-1'
out '4 prompts ('
out 'noise floor, interleaved'
out 'raw, frozen'
out 'repetition floor'
out 'permuted_width'
out 'not made: the toy engine has no threads'
out ' tokens autoregressive   predicted '
out 'x (simulated)'
out 'replayed, each request'
out 'from 16 requests of the calibration split'
out 'verdict: '
ok 'a number is none' [ "$(grep -c -w nan out.txt)" = 0 ]
report out/validate.json 4 2
ok 'no picture' grep -q '<svg' out/validate.svg
ok 'the device is not one' grep -q '^numerics_id: "toy-1"' out/device.yaml
n=$(policies)
# Three policies, twice, on a prompt as it is and on a longer one; four calibration requests a task.
changed=$((12 + 16))
ok 'the store does not hold every run' [ "$(rows out/validate.sqlite)" = $((8 * n + changed)) ]
absent out/validate.sqlite.replay
absent out/validate.json.part

# ---- a store that holds runs
t 2 $v
err "out/validate.sqlite: holds $((8 * n + changed)) runs already: --resume goes on with them, or name another --store"
t 0 $v --resume --format json
silent_err
report out.txt 4 2
ok 'the report and standard output differ' cmp -s out.txt out/validate.json
ok 'going on with all that is there added runs' [ "$(rows out/validate.sqlite)" = $((8 * n + changed)) ]
t 0 $v --resume --format csv
ok 'CSV is not a row per prompt and policy' [ "$(wc -l <out.txt)" = $((4 * n + 1)) ]
ok 'CSV has no header' [ "$(head -n 1 out.txt)" = \
    prompt,task,policy,degenerate,predicted_ns,measured_ns ]
ok 'a row of CSV has not six columns' awk -F, 'NF != 6 || $5 $6 ~ /[^0-9]/ && NR > 1 { exit 1 }' \
    out.txt
"$build/tandem" $v --resume --check --format json >out.txt 2>err.txt && got=0 || got=$?
verdict=$(sed -n 's/^ *"verdict": "\(.*\)",/\1/p' out.txt)
ok "--check ends with $got when the verdict is $verdict" \
    [ "$got" = "$([ "$verdict" = passed ] && echo 0 || echo 1)" ]

# Other circumstances are not mixed with what is there; nor does a name that is not there begin anew.
t 2 $v --resume --store out/nope.sqlite
err 'out/nope.sqlite: is not there, and --resume goes on with a store'
absent out/nope.sqlite
absent out/nope.sqlite.lock
t 1 $v --resume --roles 'target=cpu:0 draft=cpu:0'
err "this validation has roles 'target=cpu:0 draft=cpu:0', the file's has"
err 'name another --store'
t 1 validate --engine toy --budget 1 --prompts 4 --repetitions 3 --resume
err "this validation has repetitions '3', the file's has '2'"
t 1 $v --resume --seed 2
err "this validation has numerics_id 'toy-2', the file's has 'toy-1'"
t 1 validate --engine toy --prompts 4 --repetitions 2 --resume --quick
err "this validation has prompt summary-01 '"
t 1 $v --resume --device out/device.yaml
err "this validation has device 'out/device.yaml', the file's has 'profiled'"
t 1 validate --engine toy --budget 1 --prompts 3 --repetitions 2 --resume
err 'after others '
# A policy is compared whole, its last parameter too.
python3 -c "import shutil, sqlite3
for name, change in (('spec', \"spec = replace(spec, 'capacity=0', 'capacity=1')\"), ('label', \"label = 'x'\")):
    shutil.copy('out/validate.sqlite', name + '.sqlite')
    d = sqlite3.connect(name + '.sqlite')
    print(d.execute('UPDATE policy SET ' + change + ' WHERE policy = $((n - 1))').rowcount)
    d.commit()
shutil.copy('out/validate.sqlite', 'more.sqlite')
d = sqlite3.connect('more.sqlite')
d.execute(\"INSERT INTO policy VALUES ($n, 'one more', 'autoregressive:chunk=256')\")
d.execute(\"UPDATE meta SET value = '$((n + 1))' WHERE key = 'policies'\")
d.commit()" >altered.txt
ok 'no policy was altered' [ "$(cat altered.txt)" = "$(printf '1\n1')" ]
for store in spec label; do
    t 1 $v --resume --store $store.sqlite
    err "$store.sqlite: was begun with another policy $((n - 1)): name another --store; here "
done
t 1 $v --resume --store more.sqlite
err "this validation has policies '$n', the file's has '$((n + 1))': name another --store"
python3 -c "import shutil, sqlite3
shutil.copy('out/validate.sqlite', 'other.sqlite')
d = sqlite3.connect('other.sqlite')
d.execute(\"UPDATE meta SET value = 'llama' WHERE key = 'model'\")
d.commit()
d = sqlite3.connect('foreign.sqlite')
d.execute('CREATE TABLE run (id INTEGER)')
d.commit()"
t 1 $v --resume --store other.sqlite
err "other.sqlite: this validation has model 'toy', the file's has 'llama': name another --store"
cp foreign.sqlite before.sqlite
t 1 $v --store foreign.sqlite
err "foreign.sqlite: this database is not one of Tandem's, and one with a validation (tandem validate --store) was expected"
ok 'a foreign database was altered' cmp -s foreign.sqlite before.sqlite
t 1 run experiments/quickstart.yaml --store foreign.sqlite
err "foreign.sqlite: this database is not one of Tandem's, and one with runs (tandem run --store) was expected: name another file"
ok 'run altered a foreign database' cmp -s foreign.sqlite before.sqlite
# Runs and validations are not mixed either.
t 0 run experiments/quickstart.yaml --store runs.sqlite
t 1 $v --store runs.sqlite
err 'runs.sqlite: this store holds runs (tandem run --store), and one with a validation (tandem validate --store) was expected: name another file'
t 1 run experiments/quickstart.yaml --store other.sqlite
err 'other.sqlite: this store holds a validation (tandem validate --store), and one with runs (tandem run --store) was expected'
python3 -c "import sqlite3
d = sqlite3.connect('other.sqlite')
print(dict(d.execute('SELECT key, value FROM meta')))
d.execute('PRAGMA application_id = 0')
d.execute('PRAGMA user_version = 4')" >out.txt
out "'quick': 'false'"
out "'widths': '1 2 "
out "'max_ctx': '"
out "'workload 0': '"
t 1 run experiments/quickstart.yaml --store other.sqlite # of an older Tandem
err 'other.sqlite: this store holds a validation'
t 1 $v --resume --store other.sqlite
err 'other.sqlite: this validation has version 4, and this program goes on with 5 alone: name another --store'
t 1 $v --store experiments/quickstart.yaml
err 'experiments/quickstart.yaml: file is not a database'

# Repetitions that differ by more than policies ever do: no pair is told apart.
python3 -c "import shutil, sqlite3
shutil.copy('out/validate.sqlite', 'apart.sqlite')
d = sqlite3.connect('apart.sqlite')
d.execute('UPDATE run SET last_ns = last_ns + 1000000000000 * repetition')
d.commit()"
t 0 $v --resume --store apart.sqlite --format json
report out.txt 4 2
out '"kendall_tau": 0,'
out '"resolved_pairs": 0,'
out '"blind_tau": 0,'
out '"blind_resolved_pairs": 0,'
out 'tau below 0.95'
t 0 $v --resume --store apart.sqlite
out 'order: tau-b - over 0 % of pairs resolved'

# ---- a device of one's own
t 0 $v --device out/device.yaml --store frozen.sqlite
report out/validate.json 4 2
t 1 $v --device hwmodels/devices/example-2core.yaml --store none.sqlite
err 'hwmodels/devices/example-2core.yaml: was measured with numerics '

# ---- bad input, and what cannot be written: said before anything runs
cat >bad.jsonl <<'END'
{"id": "a", "task": "x", "prompt": "one two", "max_tokens": 8}
{"id": "b", "task": 7, "prompt": "one two", "max_tokens": 8}
END
rm -f none.sqlite
t 1 $v --workload bad.jsonl --store none.sqlite
err 'bad.jsonl:2:21: '
absent none.sqlite
t 1 observe --engine toy --workload bad.jsonl -o none.trace
err 'bad.jsonl:2:21: '
absent none.trace
for option in report picture save-device; do
    t 1 $v --store none.sqlite --$option bad.jsonl/file
    err 'bad.jsonl/file.part: cannot create: '
    absent none.sqlite
done
t 1 $v --store bad.jsonl/file
err 'bad.jsonl/file.part: cannot create: Not a directory'
t 1 observe --engine toy --workload traces/workloads/ui.jsonl -o none/toy.trace
err 'none/toy.trace.part: cannot create: '
t 1 profile --engine toy -o none/toy.yaml
err 'none/toy.yaml.part: cannot create: '
echo '{"id": "a", "task": "x", "prompt": "one two", "max_tokens": 1}' >one.jsonl
t 0 $v --workload one.jsonl --store one.sqlite --format json
report out.txt 1 2
out '"blind_why_not": "the workload has no calibration split'
out '"verdict": "inconclusive"'
out 'no prompt has a second token, so no time per token'
t 0 $v --workload one.jsonl --store one.sqlite --resume
out 'blind                        not made: the workload has no calibration split'
ok 'a number is none' [ "$(grep -c -w nan out.txt)" = 0 ]

t 2 $v --quick
err '--quick'
[ ! -e "$build/../traces/workloads" ] || (cd out && "$build/tandem" $v --store else.sqlite --save-device else.yaml --report else.json \
    --picture else.svg >../out.txt 2>../err.txt)
[ ! -e "$build/../traces/workloads" ] ||
    ok 'the shipped prompts are not found from elsewhere' [ -s out/else.json ]
t 2 $v --ctx 511
err '--ctx is '"'511'"': expected a whole number from 512 to'

# ---- two at once: the second is told, and the first is whole. It is stopped with its lock held:
# right after it made the file it may not have it yet.
python3 - "$build/tandem" >two.txt 2>&1 <<'END'
import fcntl, os, subprocess, sys, time

def held():
    with open('two.sqlite.lock', 'r+') as f:
        try:
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False

command = [sys.argv[1]] + ('validate --engine toy --budget 1 --prompts 4 --repetitions 2 '
                           '--store two.sqlite').split()
first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
while True:
    os.kill(first.pid, 19)  # SIGSTOP
    if not os.WIFSTOPPED(os.waitpid(first.pid, os.WUNTRACED)[1]):
        sys.exit('it ended before it was stopped')
    if os.path.exists('two.sqlite.lock') and held():
        break
    os.kill(first.pid, 18)  # SIGCONT
    time.sleep(0.001)
for more in ([], ['--resume']):
    second = subprocess.run(command + more, capture_output=True, text=True)
    print(second.returncode, second.stderr, end='')
os.kill(first.pid, 18)  # SIGCONT
print(first.wait())
END
last='two validations at once'
ok "the second was not told: $(cat two.txt)" [ "$(grep -c '^1 tandem: two.sqlite: another process writes into it: wait for its end, or' two.txt)" = 2 ]
ok 'the first did not end well' [ "$(tail -n 1 two.txt)" = 0 ]
ok 'the store does not hold every run' [ "$(rows two.sqlite)" = $((8 * n + changed)) ]
absent two.sqlite.lock

# ---- killed in the middle. Once some runs are there the store is locked, so that the program
# cannot end before it is killed; then nothing that was there may be lost or altered.
cat >kill.py <<'END'
import sqlite3, struct, subprocess, sys, time

total, command = int(sys.argv[1]), sys.argv[2:]
store = 'killed.sqlite'
child = subprocess.Popen(command)
db, before = None, []
for _ in range(60000):
    try:
        db = db or sqlite3.connect(store, isolation_level=None, timeout=1)
        if db.execute('SELECT count(*) FROM run').fetchone()[0] >= 20:
            db.execute('BEGIN IMMEDIATE')
            break
    except sqlite3.OperationalError:
        pass
    if child.poll() is not None:
        sys.exit('it ended before it was killed')
    time.sleep(0.001)
rows = 'SELECT prompt, policy, repetition, e2e_ns FROM run JOIN policy USING (policy) JOIN ' \
       'v_run USING (prompt, label, repetition) ORDER BY run.rowid'
before = db.execute(rows).fetchall()
child.kill()
child.wait()
db.execute('COMMIT')
killed = db.execute(rows).fetchall()
rounds = db.execute('SELECT * FROM round').fetchall()
if child.returncode != -9:
    sys.exit(f'it was not killed: {child.returncode}')
if killed != before or not 20 <= len(killed) < total:
    sys.exit(f'{len(before)} runs before, {len(killed)} after')
if db.execute('PRAGMA integrity_check').fetchone()[0] != 'ok':
    sys.exit('the store is damaged')
db.close()
subprocess.run(command + ['--resume'], check=True, stdout=subprocess.DEVNULL)
db = sqlite3.connect(store)
after = db.execute(rows).fetchall()
if after[:len(killed)] != killed:
    sys.exit('runs that were there were altered')
if db.execute('SELECT * FROM round').fetchall()[:len(rounds)] != rounds:
    sys.exit('calibration rounds that were there were altered')
# A round visits one context, by turns: struct sample has its kind (0: a step) first, pos at 12.
places = [{struct.unpack_from('<i', blob, at + 12)[0] for at in range(0, len(blob), size)
           if not blob[at]} for blob, size in
          db.execute('SELECT samples, layout FROM round WHERE setting = 0 ORDER BY round')]
contexts = sorted(set.union(*places))
if len(contexts) < 2 or any(p != {contexts[i % len(contexts)]} for i, p in enumerate(places)):
    sys.exit(f'rounds at contexts {places}')
if len(after) != total or len({r[:3] for r in after}) != total:
    sys.exit(f'{len(after)} runs in the end')
# The order in which a run that nobody kills makes them: each was made once, and none was skipped.
whole = sqlite3.connect('whole.sqlite').execute(rows).fetchall()
if [r[:3] for r in after] != [r[:3] for r in whole]:
    sys.exit('other runs, or in another order, than without being killed')
END
k='validate --engine toy --budget 1000 --prompts 8 --repetitions 2'
t 0 $k --store whole.sqlite
last="$k, killed"
ok 'killed and resumed' python3 kill.py $((16 * n + changed)) "$build/tandem" $k --store killed.sqlite
report out/validate.json 8 2

# The last whole chunk of a long prompt is measured beside its own context too, not only on the way
# to later ones: struct sample has its width at 8.
python3 -c "import json
print(json.dumps({'id': 'long', 'task': 't', 'prompt': 'all along the quay ' * 180, 'max_tokens': 4}))" \
    >long.jsonl
t 0 validate --engine toy --workload long.jsonl --rounds 1 --repetitions 2 --store long.sqlite
ok 'last chunks are measured by turns' python3 -c "import sqlite3, struct, sys
rounds = [{struct.unpack_from('<B7xii', blob, at) for at in range(0, len(blob), size)}
          for blob, size in sqlite3.connect('long.sqlite').execute(
              'SELECT samples, layout FROM round WHERE setting = 0 ORDER BY round')]
last = [r for r in rounds if any(kind == 0 and 256 < pos < 512 for kind, width, pos in r)]
sys.exit(not last or not all((1, 256, 256) in r for r in last))"

# A store that fails in the middle: named, and gone on with once it works again.
python3 -c "import shutil, sqlite3
shutil.copy('whole.sqlite', 'full.sqlite')
d = sqlite3.connect('full.sqlite')
d.execute('DELETE FROM run WHERE rowid > 30')
d.execute(\"CREATE TRIGGER stop BEFORE INSERT ON run WHEN (SELECT count(*) FROM run) = 40 \"
          \"BEGIN SELECT raise(FAIL, 'the disk is on strike'); END\")
d.commit()"
t 1 $k --resume --store full.sqlite
err 'full.sqlite: the disk is on strike'
ok 'the runs before the failure are not there' [ "$(rows full.sqlite)" = 40 ]
python3 -c "import sqlite3; sqlite3.connect('full.sqlite').execute('DROP TRIGGER stop')"
t 0 $k --resume --store full.sqlite
ok 'the store does not hold every run' [ "$(rows full.sqlite)" = $((16 * n + changed)) ]

# ---- profile
# cells FILE: a line per step cell: width, bucket, changed, samples
cells()
{
    awk '/^    prefill:/ { exit }
         $1 == "-" && $2 == "width:" { w = $3 }
         $1 == "bucket:" { b = $2 }
         $1 == "changed:" { c = $2 }
         $1 == "samples:" { gsub(/.*\[|\].*|,/, ""); print w, b, c, $0 }' "$1"
}
# steady WIDTHS ROUNDS FILE: every width has its samples after steps of its own shape: 2 a round, 5 up to four rows
steady()
{
    awk -v w="$1" -v n="$2" '!$3 { if (NF != 3 + n * ($1 > 4 ? 2 : 5)) exit 1; seen++ }
        END { exit seen != w }' "$3"
}
# A default's folder is made where it is written into, and not left by what failed.
mkdir bare
cd bare || exit 2
t 0 profile --engine toy --ctx 256 --rounds 2 --widths 2 --noisy -o ../bare.yaml
absent out
t 1 profile --model none.gguf
absent out
t 1 observe --model none.gguf --workload ../traces/workloads/ui.jsonl
absent out
t 1 validate --engine toy --budget 1 --workload none.jsonl --store ../b.sqlite --save-device ../b.yaml \
    --report ../b.json --picture ../b.svg
absent out
cd ..

p='profile --engine toy --ctx 256 -o toy.yaml --noisy'
t 0 $p --rounds 2 --widths 4
out 'toy.yaml: 2 rounds, '
cells toy.yaml >first.cells
ok 'cells lack samples' steady 4 2 first.cells
cp toy.yaml first.yaml
t 0 $p --rounds 2 --widths 4
out 'toy.yaml: nothing is missing: 2 rounds'
ok 'nothing was missing, and the file was altered' cmp -s toy.yaml first.yaml
t 0 $p --rounds 4 --widths 4
out 'toy.yaml: 4 rounds, '
cells toy.yaml >second.cells
ok 'four rounds lack samples' steady 4 4 second.cells
ok 'four rounds do not go on with two' awk '{ key = $1 " " $2 " " $3 }
    NR == FNR { had[key] = $0; next }
    key in had { if (index($0, had[key]) != 1) exit 1; delete had[key] }
    END { for (key in had) exit 1 }' first.cells second.cells
t 0 $p --rounds 2 --widths 6
out 'toy.yaml: 2 rounds, '
cells toy.yaml >third.cells
ok 'wider steps were not measured alike' steady 6 2 third.cells
ok 'a width was not measured after steps of both kinds' awk '$3 { after[$1 " " $3] = 1 }
    END { for (w = 1; w <= 6; w++) if (!(w " 1" in after && w " 2" in after)) exit 1 }' third.cells
t 0 $p --rounds 2 --widths 6 --roles 'target=cpu:0 draft=cpu:0'
ok 'other roles went on with the same table' grep -q 'target: "cpu:0"' toy.yaml
# cells of other kinds are not gone on with; what is wrong with a file is said
sed 's/few: 4/few: 8/' first.yaml >toy.yaml
t 0 $p --rounds 2 --widths 4
out 'toy.yaml: 2 rounds, '
ok 'kinds of another table were kept' grep -q 'few: 4' toy.yaml
sed 's/changed: 2/changed: 3/' first.yaml >toy.yaml
cp toy.yaml wrong.yaml
t 2 $p --rounds 2 --widths 4
err "toy.yaml:$(grep -n -m 1 'changed: 3' toy.yaml | cut -d : -f 1):20: "
err 'it is not replaced: correct it, or name another file'
ok 'a wrong file was altered' cmp -s toy.yaml wrong.yaml
t 0 profile --engine toy --ctx 256 --rounds 2 --widths 2 --noisy
ok 'the default file is not there' [ -e out/device.yaml ]

# A table that was noisy already stays so in the rounds that follow.
swing='20000, 2000000, 20000, 2000000, 20000, 2000000, 20000, 2000000, 20000, 2000000'
sed "s/samples: \[\([0-9]*, \)\{9\}[0-9]*\]/samples: [$swing]/" first.yaml >toy.yaml
t 1 profile --engine toy --ctx 256 -o toy.yaml --rounds 3 --widths 4
err 'the machine was too noisy: cells spread by '
err 'set aside as toy.yaml.noisy: run again on a quiet machine, or keep such a table with --noisy'
absent toy.yaml
ok 'no table was set aside' [ -e toy.yaml.noisy ]
mv toy.yaml.noisy toy.yaml
t 0 $p --rounds 4 --widths 4
ok 'a table was set aside that was to be kept' [ -e toy.yaml ]
absent toy.yaml.noisy

# ---- observe
o='observe --engine toy --workload traces/workloads/ui.jsonl --prompts 2 --max-tokens 24'
t 0 $o --top-k 4 -o first.trace
out 'first.trace: '
out ' 0 conflicting, 0 divergent'
t 0 $o --top-k 4 -o second.trace
ok 'two traces of the same differ' cmp -s first.trace second.trace
t 0 $o -o second.trace
ok 'likely tokens make no difference' sh -c '! cmp -s first.trace second.trace'
t 0 run experiments/quickstart.yaml --set trace=../first.trace --format json
out '"id": "ui-01"'
# files take turns, and what was recorded before a prompt fails is kept
long=$(printf 'word %.0s' $(seq 200))
one() { printf '{"id": "%s", "task": "x", "prompt": "%s", "max_tokens": 8}\n' "$1" "$2"; }
{ one a 'one two'; one c "$long"; } >turn.jsonl
one b 'three four' >other.jsonl
t 1 observe --engine toy --ctx 64 --workload turn.jsonl --workload other.jsonl -o turns.trace
err 'turn.jsonl:2:'
t 0 run experiments/quickstart.yaml --set trace=../turns.trace --set split=all --format json
ok 'not one of each file was kept' [ "$(grep -c '"id": "[ab]"' out.txt)" = 12 ]
t 2 observe --engine toy
err 'observe needs --workload FILE.jsonl'

finish
