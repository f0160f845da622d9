#!/bin/sh
# Bad input and wrong usage: one line that begins with the program's name, the right status, and
# nothing that breaks the next command. $1...: the programs
set -u
. "$(dirname "$0")/shell.sh"
tool tar gzip

make_folder folder
tar -C folder -cf data.tar .
gzip -c data.tar > data.tar.gz
"$mb_train" $cpu $tiny --quiet --steps 10 --out run data.tar || fail "mb-train"

# ARGUMENTS...: mb-train must refuse, and leave no run behind
refused() {
    want=$1 pattern=$2
    shift 2
    expect "$want" "$pattern" "$mb_train" $cpu $tiny --quiet --steps 10 --out new "$@"
    [ ! -e new ] || fail "mb-train $*: a run folder stayed: $(ls -R new)"
}

# ---- data ----
head -c 30000 data.tar > cut.tar
head -c $(($(wc -c < data.tar.gz) / 2)) data.tar.gz > cut.tar.gz
head -c 100 data.tar.gz > stub.tar.gz
tar -cf nothing.tar -T /dev/null
: > empty
refused 1 'missing: No such file' missing
refused 1 'none matches' 'miss*'
refused 1 'stub.tar.gz.*damaged or cut' stub.tar.gz
refused 1 'holds no bytes' nothing.tar
refused 1 'holds no bytes' empty
refused 1 'include' --include '*.rst' data.tar
refused 1 'val-fraction' --val-fraction 1 data.tar
refused 1 'missing: No such file' --val missing data.tar
refused 1 'holds no bytes' --val nothing.tar data.tar
refused 2 'no DATA'
for archive in cut.tar cut.tar.gz; do
    expect 1 "$archive.*cut" "$mb_train" $cpu $tiny --quiet --steps 5000 --out cut $archive
    expect 1 "$archive.*cut" "$mb_eval" $cpu --quiet run $archive
done
"$mb_train" $cpu $tiny --quiet --steps 10 --on-corrupt skip --out skip cut.tar ||
    fail "what is left of a cut archive is data"
"$mb_train" $cpu $tiny --quiet --steps 10 --out cut data.tar || fail "a run after a damaged archive"
expect 1 'missing: No such file' "$mb_eval" $cpu --quiet run missing
expect 1 'holds no bytes' "$mb_eval" $cpu --quiet run nothing.tar
expect 1 'include' "$mb_eval" $cpu --quiet --include '*.rst' run data.tar
if command -v zip > /dev/null; then
    (cd folder && zip -q -P secret ../secret.zip 'part 1.txt')
    refused 1 'secret.zip.*encrypted' secret.zip
    expect 1 'secret.zip.*encrypted' "$mb_eval" $cpu --quiet run secret.zip
fi
if command -v 7z > /dev/null; then
    7z a -bd -bso0 -psecret secret.7z folder > /dev/null
    refused 1 'secret.7z.*encrypted' secret.7z
fi
# A file that is no archive is plain bytes.
"$mb_train" $cpu $tiny --quiet --steps 10 --out plain 'folder/part 1.txt' || fail "a plain file"

# ---- options ----
refused 2 'patch_size.*7' --set patch_size=7 data.tar
refused 2 'micro_batch.*3' --set micro_batch=3 data.tar
refused 2 "unknown preset 'huge'.*tiny" --preset huge data.tar
refused 2 "unknown setting 'depth'.*seq_len" --set depth=3 data.tar
refused 2 'KEY=VALUE' --set lr data.tar
refused 2 'lr wants a number from 0 to' --set lr=fast data.tar
refused 2 'lr.*between' --set lr=99 data.tar
refused 2 'batch.*between' --set batch=0 data.tar
refused 2 "unknown device 'gpu'" --device gpu data.tar
for nosuch in nosuch vulkan: '' cpu:0; do
    refused 2 'unknown device .*use auto, cpu' --device "$nosuch" data.tar
    expect 2 'unknown device' "$mb_eval" --device "$nosuch" run data.tar
    expect 2 'unknown device' "$mb_generate" --device "$nosuch" run
    expect 2 'unknown device' "$mb_bench" --device "$nosuch" step
done
refused 2 "unknown precision 'fp8'" --precision fp8 data.tar
refused 2 'disable' --disable wheels data.tar
refused 2 'one of --steps, --bytes' --bytes 4K data.tar
refused 2 'either --val or' --val data.tar --val-fraction 0.5 data.tar
refused 2 'steps wants a whole number from 1 to 9223372036854775807, not' --steps many data.tar
refused 2 'steps wants a whole number from 1 to 9223372036854775807, not' --steps 0 data.tar
refused 2 'steps wants a whole number from 1 to 9223372036854775807, not' --steps -1 data.tar
refused 2 'save-every wants a whole number from 0 to' --save-every 1.5 data.tar
refused 2 'val-fraction 2' --val-fraction 2 data.tar
refused 2 'on-corrupt maybe' --on-corrupt maybe data.tar
refused 2 "'--bogus'" --bogus data.tar
refused 2 "'--json'" --json=1 data.tar
refused 2 'ambiguous' --s 3 data.tar
refused 2 'requires an argument' data.tar --steps
expect 2 "'--bogus'" "$mb_eval" --bogus run data.tar
expect 2 "'--bogus'" "$mb_generate" --bogus run
expect 2 "'--bogus'" "$mb_bench" --bogus step
expect 2 'CHECKPOINT and DATA' "$mb_eval" run
expect 2 'one CHECKPOINT' "$mb_generate"
expect 2 'one CHECKPOINT' "$mb_generate" run run
expect 2 "window cannot be 'wide'" "$mb_eval" --window wide run data.tar
expect 2 'side wants --val-fraction' "$mb_eval" --side val run data.tar
expect 2 'batch wants a whole number from 1 to 1048576, not .0.$' "$mb_eval" --batch 0 run data.tar
expect 2 'top-k wants a whole number from 0 to 256, not .257.$' "$mb_generate" --top-k 257 run
# Each refusal of a number tells its range.
for option in steps bytes minutes save-every save-minutes save-memory keep keep-every val-every \
    val-bytes stop-after-nonfinite skip-outliers device-retries log-every seed nested max-ratio \
    max-size images image-patch audio-rate at-once shuffle val-fraction; do
    refused 2 "--$option .*from [0-9.e+]* \(to [0-9.e+TG]*\|up\)" --$option -x data.tar
done
for option in batch bytes words seed nested max-ratio images val-fraction; do
    expect 2 "--$option .*from [0-9]* \(to [0-9.e+]*\|up\)" "$mb_eval" --$option -x run data.tar
done
for option in bytes temperature top-k top-p count batch seed image-size image-patch audio-rate; do
    expect 2 "--$option .*from [0-9]* \(to [0-9.e+]*\|up\)" "$mb_generate" --$option -x run
done
for option in steps warm-up bytes sequences size seed peak; do
    expect 2 "--$option .*from [0-9]* to [0-9.e+]*" "$mb_bench" step --$option -x
done
expect 2 'either --png or --wav' "$mb_generate" --png a --wav b run
expect 1 'missing: No such file' "$mb_generate" --prompt-file missing run
expect 1 'folder: Is a directory' "$mb_generate" --prompt-file folder run
for wrong in '--temperature -1' '--temperature nan' '--top-k 257' '--top-p 2' '--bytes 1e3' \
    '--count 0'; do
    expect 2 'wants a' "$mb_generate" $wrong run
done
expect 2 'say what to measure' "$mb_bench"
expect 2 "unknown benchmark 'all'" "$mb_bench" all
expect 2 'step takes no DATA' "$mb_bench" step data.tar
expect 2 'wants DATA' "$mb_bench" pipeline
expect 2 'patch_size' "$mb_bench" step --set patch_size=7

# ---- checkpoints ----
# PATTERN COMMAND...: with a copy of the run that COMMAND has damaged, every program refuses.
damaged() {
    pattern=$1
    shift
    rm -rf broken
    cp -R run broken
    (cd broken/checkpoints/00000010 && "$@")
    expect 1 "$pattern" "$mb_generate" $cpu --quiet --bytes 5 broken
    expect 1 "$pattern" "$mb_generate" $cpu --quiet --bytes 5 broken/checkpoints/00000010
    expect 1 "$pattern" "$mb_eval" $cpu --quiet broken data.tar
    expect 1 "$pattern" "$mb_train" $cpu --quiet --steps 20 --out broken data.tar
    [ "$(ls -A broken/checkpoints)" = 00000010 ] || fail "$pattern: $(ls -A broken/checkpoints)"
}
damaged 'model.safetensors was cut short' truncate -s -10 model.safetensors
damaged 'model.safetensors' truncate -s 0 model.safetensors
damaged 'model.safetensors is missing' rm model.safetensors
damaged 'state.json is damaged or was cut short' truncate -s 100 state.json
damaged 'state.json is damaged or was cut short' truncate -s 0 state.json
damaged 'state.json is missing' rm state.json
damaged 'version 2' sed -i 's/"version": 1/"version": 2/' state.json
damaged 'state.json' sed -i 's/"steps": 10/"steps": 99/' state.json
# Without the optimizer a model can be used, but not trained on.
rm -rf broken
cp -R run broken
rm broken/checkpoints/00000010/optimizer.safetensors
"$mb_generate" $cpu --quiet --bytes 5 broken > out || fail "a model without optimizer"
expect 1 'optimizer.safetensors is missing' "$mb_train" $cpu --quiet --steps 20 --out broken \
    data.tar
expect 1 'neither a checkpoint nor a run' "$mb_generate" $cpu --quiet folder
expect 1 'is a file' "$mb_generate" $cpu --quiet data.tar
expect 1 'No such file' "$mb_eval" $cpu --quiet missing data.tar
# A newer checkpoint that is damaged gives way to an older one, with a note.
cp -R run older
"$mb_train" $cpu --quiet --steps 15 --out older data.tar || fail "more steps"
truncate -s -1 older/checkpoints/00000015/model.safetensors
"$mb_train" $cpu --steps 15 --out older data.tar 2> err || fail "an older checkpoint: $(cat err)"
grep -q 'older.*00000010' err || fail "no note about the older checkpoint: $(cat err)"
"$mb_generate" $cpu --quiet --bytes 5 older/checkpoints/00000015 > out || fail "it was replaced"
# Every program that takes a run says so; of a damaged one, and of one that is gone.
told_of_older() {
    "$mb_generate" $cpu --bytes 5 older > out 2> err || fail "mb-generate, older: $(cat err)"
    grep -q "^mb-generate: took the older .*00000010, $1" err || fail "mb-generate: $(cat err)"
    "$mb_eval" $cpu --json older data.tar > out 2> err || fail "mb-eval, older: $(cat err)"
    grep -q "^mb-eval: took the older .*00000010, $1" err || fail "mb-eval: $(cat err)"
}
truncate -s -1 older/checkpoints/00000015/state.json
told_of_older 'as the newest cannot be used: .*00000015: state.json'
rm -r older/checkpoints/00000015
told_of_older 'as the newest is gone: older/latest names checkpoints/00000015'
"$mb_train" $cpu --steps 15 --out older data.tar 2> err || fail "an older checkpoint: $(cat err)"
grep -q 'took the older .*the newest is gone' err || fail "mb-train: $(cat err)"

# ---- a run that belongs to something else ----
again() {
    expect 1 "$1" "$mb_train" $cpu --quiet --steps 20 --out run "$2" "$3" "$4"
    [ "$(ls -A run/checkpoints)" = 00000010 ] || fail "$*: $(ls -A run/checkpoints)"
}
again 'another' --set lr=0.02 data.tar
again 'another' --preset small data.tar
again 'seed 1, not 2' --seed 2 data.tar
again 'include' --include '*1*' data.tar
again 'exclude' --exclude 'zeros*' data.tar
again 'val-fraction' --val-fraction 0.3 data.tar
expect 1 'the data has changed' "$mb_train" $cpu --quiet --steps 20 --out run folder
expect 1 '2' "$mb_train" $cpu --quiet --steps 20 --out run data.tar data.tar
expect 1 'folder' "$mb_train" $cpu $tiny --quiet --steps 2 --out empty data.tar
"$mb_train" $cpu $tiny --quiet --steps 1000000 --out busy data.tar 2> busy.err &
owner=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -s busy/metrics.jsonl ] || sleep 0.5
done
expect 1 'another process.*training in busy' "$mb_train" $cpu $tiny --quiet --out busy data.tar
kill -TERM $owner
wait $owner
[ $? = 130 ] || fail "SIGTERM: $(cat busy.err)"
[ ! -s busy.err ] || fail "an interruption is no error: $(cat busy.err)"
"$mb_generate" $cpu --quiet --bytes 5 busy > out || fail "the interrupted run has a checkpoint"

# ---- output that goes nowhere, memory that is not there ----
"$mb_generate" $cpu --quiet --bytes 100000000 run 2> err | head -c 10 > out
[ "$(wc -c < out)" = 10 ] && [ ! -s err ] || fail "a closed pipe: $(cat err)"
if [ -c /dev/full ]; then
    for program in "$mb_generate --bytes 9 run" "$mb_generate --json --bytes 9 run" \
        "$mb_eval run data.tar" "$mb_eval --json run data.tar" "$mb_train $tiny --dry-run" \
        "$mb_train $tiny --dry-run --json" "$mb_bench generate $tiny --bytes 2"; do
        # Splits at spaces, as the paths of a build do not have any.
        $program $cpu --quiet > /dev/full 2> err
        [ $? = 1 ] && [ "$(wc -l < err)" = 1 ] || fail "$program > /dev/full: $(cat err)"
    done
fi
expect 1 'micro_batch' timeout 60 "$mb_train" $cpu --quiet --preset paper-text \
    --set batch=100000 --out big data.tar
expect 1 'takes .* of memory, and .* has .*smaller' timeout 60 "$mb_train" $cpu --quiet \
    --preset paper-text \
    --set global.layers=200 --out big data.tar
exit 0
