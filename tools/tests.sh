# tests.sh - runs meson's tests and counts their results: for check and drivers. Sourced after
# lib.sh; `finish` prints the line "N passed, N failed, N skipped" and ends the script.
# shellcheck shell=bash

passed=0
failed=0
skipped=0

pass_over()
{
    skipped=$((skipped + 1))
    say "skipped: $*"
}

fail()
{
    failed=$((failed + 1))
    say "FAILED: $*"
}

finish()
{
    heartbeat_stop
    if ((passed + failed == 0)); then fail "no test ran"; fi
    say "done in $(elapsed)"
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    exit $((failed > 0))
}

# run_tests NAME BUILD SETUP ARGUMENT...: `meson test` in the folder BUILD with a setup of
# tests/meson.build; counts its results and names what did not pass as [NAME] TEST.
run_tests()
{
    local name=$1 build=$2 setup=$3 result test log
    shift 3
    log=$build/meson-logs/$name
    rm -f "$log"{,-run,-"$setup"}.json
    quietly "$log.out" meson test -C "$build" --no-rebuild --logbase "$name" --setup "$setup" "$@"
    # Meson appends the name of the wrapper or of the setup.
    for log in "$log"{-run,-"$setup",}.json; do
        if [[ -s $log ]]; then break; fi
    done
    if [[ ! -s $log ]]; then
        show_tail "$build/meson-logs/$name.out"
        fail "[$name] meson test ran no test"
        return
    fi
    while IFS=$'\t' read -r result test; do
        case $result in
        OK | EXPECTEDFAIL) passed=$((passed + 1)) ;;
        SKIP | IGNORED) pass_over "[$name] $test$(reason "$log" "$test")" ;;
        *)
            fail "[$name] $test: $result"
            output_of "$log" "$test" ;;
        esac
    done < <(results "$log")
}

# Every test of a log of meson's, which is one JSON object a line: its result and its name.
results()
{
    python3 -c 'if True:
        import json, sys
        for line in open(sys.argv[1], encoding="utf-8"):
            test = json.loads(line)
            print(test["result"], test["name"], sep="\t")' "$1"
}

# The last lines that a test wrote.
output_of()
{
    python3 -c 'if True:
        import json, sys
        for line in open(sys.argv[1], encoding="utf-8"):
            test = json.loads(line)
            if test["name"] == sys.argv[2]:
                text = (test.get("stdout") or "") + (test.get("stderr") or "")
                for line in text.splitlines()[-25:]:
                    print("      |", line[:300])' "$1" "$2"
}

# Why a test was skipped, where it says so in a line "skipped: ...".
reason()
{
    output_of "$1" "$2" | sed -n 's/^ *| *[Ss][Kk][Ii][Pp][a-z]*: \(.*\)$/ (\1)/p' | head -n 1
}
