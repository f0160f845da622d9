# lib.sh - what the scripts of this folder share: stages with times, and quiet commands whose output
# goes to a log. Sourced; the caller sets `stages`, the number of its stages.
# shellcheck shell=bash

# shellcheck disable=SC2034 # for those who source this
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
stage_number=0
heartbeat=

# A minimal system has no locale but this one; archivers need its UTF-8 for the names of files.
export LC_ALL=C.UTF-8

# Threads that wait for one another should soon give way: where something else runs too, as tests
# beside one another do, spinning costs more than half of the speed.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-1000}

# Seconds since the script began, as m:ss.
elapsed()
{
    printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60))
}

# The next numbered step, with the time since the script began.
stage()
{
    stage_number=$((stage_number + 1))
    printf '[%d/%d] %s  %s\n' "$stage_number" "${stages:-0}" "$(elapsed)" "$*"
}

say()
{
    printf '      %s\n' "$*"
}

# What the comment at the top of the script says; the answer to --help.
usage()
{
    sed -n '2,/^[^#]/s/^#$//p; 2,/^[^#]/s/^# //p' "$0"
}

# misuse WHAT: the script was called in a way that it does not know.
misuse()
{
    printf '%s: %s; see %s --help\n' "$(basename "$0")" "$*" "tools/$(basename "$0")" >&2
    exit 2
}

die()
{
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

heartbeat_stop()
{
    if [[ -n $heartbeat ]]; then
        kill "$heartbeat" 2>/dev/null
        wait "$heartbeat" 2>/dev/null
        heartbeat=
    fi
    return 0
}
trap heartbeat_stop EXIT

# Takes its sleep with it when it is ended, which would hold our output open otherwise.
beat()
{
    trap 'kill "$!" 2>/dev/null; exit' TERM
    while :; do
        sleep 20 &
        wait "$!"
        say "... $((SECONDS - $1)) s"
    done
}

# quietly LOG COMMAND...: runs the command with its output in LOG and a line every 20 seconds, so
# that nobody wonders whether it hangs. Its exit status is the command's.
quietly()
{
    local log=$1 status=0 begun=$SECONDS
    shift
    mkdir -p "$(dirname "$log")"
    beat "$begun" &
    heartbeat=$!
    "$@" </dev/null >"$log" 2>&1 || status=$?
    heartbeat_stop
    return "$status"
}

# The end of a log, for a message about what failed.
show_tail()
{
    tail -n "${2:-20}" "$1" | sed 's/^/      | /'
}
