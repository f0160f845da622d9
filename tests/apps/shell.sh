# For the shell tests: programs, a scratch folder, a model that trains in no time. Sourced with the
# five programs as arguments.
mb_train=$(realpath "$1")
mb_eval=$(realpath "$2")
mb_generate=$(realpath "$3")
mb_bench=$(realpath "$4")
mb_data=$(realpath "$5")
here=$(realpath "$(dirname "$0")")
scratch=$(mktemp -d) || exit 1
trap 'cd /; rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
# Whatever the caller's: the names of files are UTF-8, words and times are the same everywhere.
export LC_ALL=C.UTF-8 TZ=UTC0
export TMPDIR="$scratch" XDG_CACHE_HOME="$scratch/cache"
# The model is too small for threads, and tests run beside each other.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

# To be split into words; every run is on the cpu, which is everywhere.
cpu="--device cpu"
tiny="--preset tiny --set seq_len=64 --set global.dim=32 --set global.heads=2
    --set global.layers=1 --set local.dim=16 --set local.heads=2 --set local.layers=1
    --set patch_size=4 --set batch=4 --set warmup=5 --set lr=0.01"

fail() {
    echo "failed: $*" >&2
    exit 1
}
skipped() {
    echo "skipped: $*"
    exit 77
}
tool() {
    for t in "$@"; do
        command -v "$t" > /dev/null || skipped "no $t"
    done
}

# STATUS PATTERN PROGRAM ARGUMENTS...: the status, and one line that begins with the program's name.
expect() {
    want=$1 pattern=$2
    shift 2
    "$@" > out 2> err
    got=$?
    [ $got = "$want" ] || fail "$*: status $got, not $want: $(cat err)"
    [ "$(wc -l < err)" = 1 ] || fail "$*: not one line: $(cat err)"
    [ "$1" = timeout ] && shift 2
    grep -q -e "^$(basename "$1"): .*$pattern" err || fail "$*: $(cat err)"
}

# FILE EXPRESSION: a Python expression over the JSON object `o` that must be true.
json() {
    python3 -c 'import json, math, sys
o = json.load(open(sys.argv[1]))
assert eval("(" + sys.argv[2] + ")"), (sys.argv[2], o)' "$@" || fail "$1: $2"
}

# Members of several sizes, one of them empty, one with NUL and other bytes that are no text.
make_folder() {
    mkdir "$1"
    for i in 1 2 3 4 5 6 7 8; do
        seq $((i * 1000)) $((i * 1300)) > "$1/part $i.txt"
    done
    : > "$1/empty"
    printf 'a\000b\377\376\000\000c' > "$1/zeros.bin"
}
