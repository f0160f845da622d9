#!/bin/sh
# Where io_uring is refused: the same bytes, and one line that says why.
# $1: mb-data, $2: refuse_uring
set -u
refuse=$(realpath "$2")
. "$(dirname "$0")/shell.sh"
tool tar zstd
head -c 3000000 /dev/urandom > random
tar -cf r.tar random
zstd -q r.tar
"$refuse" /bin/true || exit 77
"$refuse" "$mb_data" cat r.tar.zst random > got 2> err || fail "cat: $(cat err)"
cat random random | cmp - got || fail "other bytes without io_uring"
[ "$(wc -l < err)" = 1 ] || fail "not one line: $(cat err)"
grep -q 'io_uring is refused.*seccomp.*threads' err || grep -q 'this build has no liburing' err ||
    fail "it does not say why: $(cat err)"
"$refuse" "$mb_data" cat --io threads r.tar.zst 2> err | cmp - random || fail "--io threads"
[ ! -s err ] || fail "asked for threads, nothing to say: $(cat err)"
"$refuse" "$mb_data" cat --io uring r.tar.zst > got 2> err
[ $? = 1 ] || fail "--io uring must fail where it is refused"
# Where the sysctl says so, the line names it: a file of our own lies over it, for us alone.
echo 2 > disabled
if unshare -m true 2> /dev/null; then
    unshare -m sh -c 'mount --bind disabled /proc/sys/kernel/io_uring_disabled && exec "$@"' sh \
        "$refuse" "$mb_data" cat r.tar.zst > got 2> err
    if ! grep -q '^mount' err; then
        cmp random got || fail "other bytes with kernel.io_uring_disabled"
        grep -q 'kernel.io_uring_disabled is 2.*threads' err ||
            grep -q 'this build has no liburing' err || fail "the sysctl is not named: $(cat err)"
        [ "$(wc -l < err)" = 1 ] || fail "not one line: $(cat err)"
    fi
fi
finish
