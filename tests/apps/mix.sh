#!/bin/sh
# Several things at once: how many, in which shares, and that a run goes on only as it began.
# $1...: the programs
set -u
. "$(dirname "$0")/shell.sh"
tool tar python3

make_folder folder
tar -C folder -cf a.tar 'part 1.txt' 'part 2.txt' 'part 3.txt'
tar -C folder -cf b.tar 'part 4.txt' zeros.bin empty

# RUN EXPRESSION: about the data's part of its newest checkpoint's state
state() {
    python3 -c 'import json, sys
run = sys.argv[1]
newest = open(run + "/latest").read().strip()
o = json.load(open(run + "/" + newest + "/state.json"))["state"]["data"]
lanes, choice = o["cursor"]["lanes"], o["choice"]
assert eval(sys.argv[2]), o' "$@" || fail "$1: $2"
}

# STEPS RUN ARGUMENTS...
train() {
    steps=$1 out=$2
    shift 2
    "$mb_train" $cpu $tiny --quiet --steps "$steps" --out "$out" "$@" || fail "mb-train $*"
}

train 20 plain a.tar b.tar folder
state plain 'len(lanes) == 3 and choice["weights"] == [] and choice["shuffle"] == 64 << 20'
train 20 one --at-once 1 --shuffle 1K a.tar b.tar
state one 'len(lanes) == 1 and choice["at-once"] == 1 and choice["shuffle"] == 1024'
# 80 windows to 3 : 1, and a glob is one argument.
train 20 mixed '[a].tar=3' b.tar
state mixed '[lane["given"] for lane in lanes] == [60, 20] and choice["weights"] == [3, 1]'
train 20 mixed 'a.tar=0.5' 'folder=1.5' b.tar=2 --out mixed3
state mixed3 '[lane["given"] for lane in lanes] == [10, 30, 40]'

# Other wishes than the run began with.
other() {
    pattern=$1
    shift
    expect 1 "begun with $pattern: give the same" "$mb_train" $cpu $tiny --quiet --steps 30 "$@"
}
other '--at-once 1, and now it is 2' --out one --at-once 2 --shuffle 1K a.tar b.tar
other '--shuffle 1024, and now it is 67108864' --out one --at-once 1 --shuffle 64M a.tar b.tar
other 'weights .3.0, 1.0., and now it is .2.0, 1.0.' --out mixed a.tar=2 b.tar
other 'weights .*' --out mixed a.tar b.tar
train 30 one --at-once 1 --shuffle 1K a.tar b.tar
# What is left out is as the run began.
train 33 one a.tar b.tar
state one 'len(lanes) == 1 and choice["at-once"] == 1 and choice["shuffle"] == 1024'
train 30 mixed a.tar=3 b.tar

# A thing of a mixture without a byte would never have its turn.
tar -cf nothing.tar -T /dev/null
expect 1 'nothing.tar.*holds no bytes' "$mb_train" $cpu $tiny --quiet --steps 5 --out no \
    a.tar=1 nothing.tar
[ ! -e no ] || fail "a run folder stayed"
train 5 some a.tar nothing.tar
for wrong in '--at-once 0' '--at-once 65' '--at-once x' '--shuffle 0' '--shuffle x' 'a.tar=0' \
    'a.tar=x=-1'; do
    expect 2 "${wrong#*--}" "$mb_train" $cpu $tiny --quiet --steps 5 --out no $wrong a.tar
done

"$mb_bench" pipeline --quiet --json --steps 1 --warm-up 1 --at-once 2 a.tar b.tar folder \
    > out.json || fail "mb-bench"
bytes=$("$mb_data" cat a.tar b.tar folder | wc -c)
json out.json "o['bytes'] == $bytes and o['lanes'] == 2 and o['passes'] == 1"
