#!/bin/bash
# usage.sh ROOT: each script of tools/ prints its usage when asked, and refuses what it does not
# know as wrong usage (2), before it does anything.
set -uo pipefail
cd "${1:?usage: usage.sh ROOT}/tools" || exit 1
err=$(mktemp)
trap 'rm -f "$err"' EXIT
status=0

complain()
{
    echo "tools/$*"
    sed 's/^/    /' "$err"
    status=1
}

for script in *; do
    if [[ ! -x $script || -d $script ]]; then continue; fi
    for option in --help -h; do
        text=$(timeout 60 "./$script" $option </dev/null 2>"$err") ||
            complain "$script $option: status $?"
        [[ $text == *"$script"* ]] || complain "$script $option: prints no usage"
        [[ ! -s $err ]] || complain "$script $option: writes to standard error"
    done
    text=$(timeout 60 "./$script" --no-such-option </dev/null 2>"$err")
    done=$?
    ((done == 2)) || complain "$script --no-such-option: status $done, not 2"
    [[ -z $text && -s $err ]] || complain "$script --no-such-option: is not refused in words"
done
exit $status
