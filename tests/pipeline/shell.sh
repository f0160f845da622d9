# For the shell tests: a scratch folder, failing, skipping. Sourced with $1 = the program.
mb_data=$(realpath "$1")
scratch=$(mktemp -d) || exit 1
trap 'cd /; rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
# Whatever the caller's: the names of files are UTF-8, words and times are the same everywhere.
export LC_ALL=C.UTF-8 TZ=UTC0
export TMPDIR="$scratch"

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
finish() {
    exit 0
}
