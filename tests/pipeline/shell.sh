# For the shell tests: a scratch folder, failing, skipping. Sourced with $1 = the program.
mb_data=$(realpath "$1")
scratch=$(mktemp -d) || exit 1
trap 'cd /; rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
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
