#!/bin/sh
# What programs say about themselves, about a plan, and about speed. $1...: the programs
set -u
. "$(dirname "$0")/shell.sh"
tool python3
apps=$(realpath "$here/../../apps")

# ---- help ----
for program in "$mb_train" "$mb_eval" "$mb_generate" "$mb_bench" "$mb_data"; do
    name=$(basename "$program")
    [ "$("$program" --version)" = "$name $("$mb_train" --version | cut -d ' ' -f 2)" ] ||
        fail "$name --version"
    "$program" --help > help || fail "$name --help"
    head -1 help | grep -q "^Usage: $name" || fail "$name --help begins with $(head -1 help)"
    [ "$(awk 'length > 100' help | wc -l)" = 0 ] || fail "$name --help has long lines"
    for option in --json --quiet --version --help; do
        grep -q -e "^  $option " help || fail "$name --help does not know $option"
    done
    # Options that several programs share are rows in headers; who has one of a header has all.
    tables="$apps/$name.c"
    for header in common device; do
        macro=$(grep -o "APP_[A-Z]*_OPTIONS" "$apps/$header.h" | head -1)
        ! grep -q "$macro" "$apps/$name.c" || tables="$tables $apps/$header.h"
    done
    grep -ho '{"[a-z-]*", [a-z]*_argument' $tables | cut -d '"' -f 2 > options
    [ "$(wc -l < options)" -gt 7 ] || fail "no table of options found in $tables"
    for option in $(cat options); do
        grep -q -e "--$option" help || fail "$name --help does not mention --$option"
    done
done
"$mb_train" --list-settings > settings || fail "--list-settings"
for word in tiny small base paper-text patch_size seq_len global.dim global.layers global.heads \
    local.dim local.layers local.heads dropout lr warmup batch micro_batch recompute local_group; do
    grep -q "^  $word  " settings || fail "--list-settings lacks $word"
done
"$mb_train" --list-devices | grep -q '^cpu  ' || fail "--list-devices"

# ---- plans ----
# PRESET: mb-train --dry-run of it, with the settings behind it
plan() {
    "$mb_train" $cpu --preset "$@" --dry-run --json --quiet > plan.json 2> err || fail "plan $*"
    [ ! -s err ] || fail "--quiet: $(cat err)"
    json plan.json 'o["memory_bytes"] == sum(o[part + "_bytes"] for part in
        ("weights", "gradients", "optimizer", "activations", "staging", "evaluation", "products",
         "scoring", "saving", "data", "program"))'
    json plan.json 'o["weights_bytes"] >= 4 * o["parameters"] > 0 and o["precision"] == "fp32"'
    json plan.json 'o["optimizer_bytes"] >= 8 * o["parameters"] and o["activations_bytes"] > 0'
    json plan.json 'o["device_memory_bytes"] > 0 and o["device"]'
}
plan tiny
json plan.json '2.5e6 < o["parameters"] < 3.5e6'
plan small
json plan.json '20e6 < o["parameters"] < 24e6'
plan base
json plan.json '120e6 < o["parameters"] < 140e6'
plan paper-text
json plan.json 'abs(o["flops_per_byte"] / 645e6 - 1) < 0.01'
# A window of whose tensors some would have more than 2^31 elements: blocks by groups, and nine
# inputs of blocks of 3.5 GiB, besides a few such tensors more, where the rest is computed again.
plan paper-image640 --set recompute=1
json plan.json '32 < o["activations_bytes"] / 2**30 < 48'
expect 1 "too large.*micro_batch is at most 2" "$mb_train" $cpu --quiet --preset paper-image640 \
    --set micro_batch=4 --dry-run
"$mb_train" $cpu --preset tiny --dry-run > plan 2> /dev/null || fail "--dry-run"
grep -q '^ *total .* of ' plan || fail "--dry-run: $(cat plan)"
[ ! -e mb-run ] || fail "--dry-run writes"

# A run that does not fit is refused with what would, and that is the most that does.
cat > fit.py << 'END'
import json, re, subprocess, sys
line = sys.argv[1:] + ["--preset", "tiny", "--set", "local.layers=24"]

def call(batch, *more):
    done = subprocess.run(line + ["--set", "batch=%d" % batch] + list(more), stderr=subprocess.PIPE,
                          stdout=subprocess.PIPE)
    return done.returncode, done.stdout.decode(), done.stderr.decode()

def fits(batch, settings):
    status, out, errors = call(batch, *settings.split(), "--dry-run", "--json", "--quiet")
    if status:
        assert "too large" in errors, errors
        return False
    plan = json.loads(out)
    return plan["memory_bytes"] <= plan["device_memory_bytes"]

for settings in "", "--set recompute=1":
    batch = 1
    while fits(batch, settings):
        batch *= 2
    if not fits(batch // 2, settings) or "too large" in call(batch, "--dry-run")[2]:
        sys.exit("skipped: more memory than a plan can take")
    status, _, errors = call(batch, "data.bin", *settings.split(), "--steps", "1")
    assert status == 1 and "training this takes" in errors and "would fit" in errors, errors
    said = re.findall(r"--set micro_batch=(\d+)( --set recompute=1)?", errors.splitlines()[-1])
    assert said and (len(said) == 1 or int(said[1][0]) > int(said[0][0])), errors
    for n, recompute in said:
        assert fits(batch, "--set micro_batch=%s%s" % (n, recompute)), (errors, n)
        more = "--set micro_batch=%d%s" % (2 * int(n), recompute)
        assert 2 * int(n) > batch or not fits(batch, more), (errors, more)
# One sequence, whose local model is ever wider: what remains is groups of its patches.
for width in 512, 1024, 2048, 4096, 8192:
    wide = ["--set", "seq_len=196608", "--set", "patch_size=192", "--set", "global.dim=192",
            "--set", "global.heads=1", "--set", "local.layers=1", "--set", "local.dim=%d" % width,
            "--set", "local.heads=%d" % (width // 64), "--set", "recompute=1"]
    if not fits(1, " ".join(wide)):
        errors = call(1, *wide, "--dry-run")[2]
        group = re.findall(r"--set micro_batch=1 --set recompute=1 (--set local_group=64) ", errors)
        assert len(group) == 1 and "too large" not in errors, errors
        assert fits(1, " ".join(wide) + " " + group[0]) == ("would fit" in errors), errors
        break
status, _, errors = call(1, "--set", "global.dim=16384", "--set", "global.heads=64", "--set",
                         "global.layers=64", "--dry-run")
assert "does not fit" in errors and "has to be smaller" in errors, errors
END
head -c 100000 /dev/urandom > data.bin
python3 fit.py "$mb_train" $cpu --out fit > fit.txt 2>&1 || grep '^skipped: ' fit.txt ||
    fail "$(cat fit.txt)"
expect 1 "too large.*micro_batch=.*would fit" "$mb_train" $cpu --quiet --preset tiny \
    --set batch=65536 --dry-run
[ ! -e fit/checkpoints ] || fail "a run that does not fit has checkpoints"

# What was planned is what is taken: the process's largest size, part by part (this data is all held
# at once). A model that is large against what nobody can plan, such as the stacks of threads.
cat > rss.py <<'END'
import json, resource, subprocess, sys
program, arguments = sys.argv[1], sys.argv[2:]
plan = json.loads(subprocess.check_output([program, "--dry-run", "--json"] + arguments))
subprocess.check_call([program, "--out", "rss"] + arguments)
taken = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(plan, taken)
assert abs(plan["memory_bytes"] / taken - 1) < 0.05, plan["memory_bytes"] / taken
END
if [ "${SANITIZED:-}" ]; then # its shadow memory is in no plan
    echo "skipped: the plan of memory against what is taken, with a sanitizer"
else
    head -c 31000000 /dev/urandom > random.bin
    for settings in "--precision fp32" "--precision bf16 --set recompute=1" \
        "--val random.bin --val-bytes 1K --save-every 1 --set micro_batch=1"; do
        rm -rf rss
        MALLOC_PERTURB_=0 python3 rss.py "$mb_train" $cpu --quiet --preset small --set batch=2 \
            --steps 2 $settings random.bin > rss.txt 2>&1 ||
            fail "memory: $settings: $(cat rss.txt)"
    done
fi

# ---- speed ----
"$mb_bench" step $cpu $tiny --steps 2 --warm-up 1 --json --quiet > step.json || fail "mb-bench step"
json step.json 'o["bytes_per_second"] > 0 and o["device"] and o["precision"] == "fp32"'
json step.json 'abs(o["flops_per_second"] / (3 * o["flops_per_byte"] * o["bytes_per_second"]) - 1)
    < 1e-9'
json step.json 'all(op["kernel"] and op["seconds"] >= 0 for op in o["ops"]) and len(o["ops"]) > 9'
json step.json '0 <= o["host_share"] == o["host_seconds"] / o["seconds_per_step"] < 1
    and o["stated_flops_per_second"] is None and o["model_flops_utilization_stated"] is None'
json step.json 'o["model_flops_utilization"] ==
    o["flops_per_second"] / o["ceiling_flops_per_second"]
    and sum(op["seconds"] for op in o["ops"]) + o["bubble_seconds"] > 0'
json step.json 'all(math.isclose(op["share_of_ceiling"] * op["seconds"], max(
    op["flops_floor_seconds"], op["bytes_floor_seconds"])) for op in o["ops"] if op["seconds"])'
"$mb_bench" step $cpu $tiny --steps 1 --warm-up 0 --peak 2e12 --json --quiet > step.json ||
    fail "mb-bench step --peak"
json step.json 'math.isclose(o["model_flops_utilization_stated"], o["flops_per_second"] / 2e12)'
expect 2 "peak" "$mb_bench" step $cpu --peak fast
"$mb_bench" step $cpu $tiny --steps 1 --warm-up 0 2> /dev/null | grep -q 'a step' || fail "step"
"$mb_bench" generate $cpu $tiny --bytes 5 --json --quiet > generate.json || fail "mb-bench generate"
# whole patches
json generate.json 'o["bytes"] == 8 and o["bytes_per_second"] > 0 and o["device"]'
"$mb_bench" op $cpu --size 32 --steps 1 --json --quiet > op.json || fail "mb-bench op"
json op.json 'o["size"] == 32 and len(o["ops"]) > 2 and o["precision"] == "fp32"'
make_folder folder
"$mb_bench" pipeline --steps 2 --warm-up 0 --json --quiet folder > pipeline.json ||
    fail "mb-bench pipeline"
json pipeline.json "o['bytes'] == $(cat folder/* | wc -c) and o['bytes_per_second'] > 0"
exit 0
