#!/bin/sh
# Going on behind damage: all that is good comes, each damage is counted once, in cat, ls and stat.
# What is not chosen stops nothing. $1: mb-data
set -u
. "$(dirname "$0")/shell.sh"

tool tar gzip
plain() { # a run's own line where io_uring is refused is none of ours
    sed -i '/io_uring is refused/d' err
    ! grep -qi 'internal error\|programmer' err || fail "words of a library: $(cat err)"
}
skips() { # WANT COUNT ARGUMENTS...: cat gives the bytes of WANT and counts, and stop says one line
    want=$1 count=$2
    shift 2
    timeout 60 "$mb_data" cat --on-corrupt skip "$@" > got 2> err || fail "cat $*: $(cat err)"
    plain
    cmp got "$want" || fail "cat $*: $(cat err)"
    grep -q "$count damaged" err || [ "$count" = 0 ] || fail "cat $*: not $count: $(cat err)"
    [ "$(grep -c 'passed over: ' err)" = "$count" ] || fail "cat $*: not $count: $(cat err)"
    [ "$count" = 0 ] && return
    timeout 60 "$mb_data" cat "$@" > got 2> err && fail "cat $*: no failure"
    plain
    [ "$(wc -l < err)" = 1 ] || fail "cat $*: not one line: $(cat err)"
}
put() { # FILE BYTE TEXT: writes TEXT there
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc 2> /dev/null
}
where() { # FILE TEXT: the byte where it first is
    grep -abo -e "$2" "$1" | head -1 | cut -d: -f1
}

for i in 0 1 2 3 4 5; do
    seq "$i" 6 "${i}000" | sed "s/^/{\"text\":\"$i of /;s/\$/\"}/" > $i.jsonl
    gzip -nk $i.jsonl
done
lines() { # NUMBERS...
    for i in "$@"; do cat "$i.jsonl"; done
}
# Neighbours that are damaged, in what is read in order and what is not.
mkdir cut && cp ./*.gz cut && head -c 20 2.jsonl.gz > cut/2.jsonl.gz
head -c 20 3.jsonl.gz > cut/3.jsonl.gz
tar -cf six.tar -C cut 0.jsonl.gz 1.jsonl.gz 2.jsonl.gz 3.jsonl.gz 4.jsonl.gz 5.jsonl.gz
lines 0 1 4 5 > want
skips want 2 six.tar
gzip -k six.tar && skips want 2 six.tar.gz
"$mb_data" ls --on-corrupt skip six.tar > got 2> err || fail "ls: $(cat err)"
grep -q '2 damaged' err && [ "$(wc -l < got)" = 4 ] || fail "ls: $(cat got err)"
"$mb_data" ls --on-corrupt skip --json six.tar.gz 2> /dev/null | grep -q '"damaged": 2' ||
    fail "ls --json counts"
"$mb_data" ls six.tar > got 2> err && fail "ls stops at damage"
"$mb_data" stat --on-corrupt skip --json six.tar 2> /dev/null | grep -q '"damaged": 2' ||
    fail "stat counts"
# The first two, the last two, and three levels deep: what lies behind comes.
cp cut/2.jsonl.gz a.gz && cp cut/3.jsonl.gz b.gz
tar -cf first.tar a.gz b.gz 0.jsonl && tar -cf last.tar 1.jsonl a.gz b.gz
tar -cf one.tar first.tar last.tar 2.jsonl && tar -czf two.tgz one.tar a.gz 3.jsonl
tar -cf three.tar two.tgz 4.jsonl
lines 0 1 2 3 4 > want
skips want 5 --nested 4 three.tar
# A decompressor's damage ends what is on it, once; what is behind it in the archive comes.
head -c 3000 two.tgz > short.tgz && tar -cf short.tar 0.jsonl short.tgz a.gz 5.jsonl
timeout 60 "$mb_data" cat --on-corrupt skip short.tar > got 2> err || fail "short: $(cat err)"
tail -c "$(wc -c < 5.jsonl)" got | cmp - 5.jsonl && grep -q "[23] damaged" err || fail "$(cat err)"

# Headers of a tar: one, neighbours, the first, the last, long names; also compressed.
for format in ustar gnu; do
    tar --format=$format -cf good.tar ?.jsonl
    for bad in 0 2 5 01 23 024; do
        cp good.tar bad.tar
        rest=
        for i in 0 1 2 3 4 5; do
            case $bad in
            *$i*) put bad.tar "$(($(where good.tar "$i.jsonl") + 20))" x ;;
            *) rest="$rest $i" ;;
            esac
        done
        # shellcheck disable=SC2086
        lines $rest > want
        skips want ${#bad} bad.tar
        gzip -c bad.tar > bad.tgz && skips want ${#bad} bad.tgz
    done
done
# One that only tells more about the member behind it: the bytes of that come.
tar --format=pax -cf pax.tar ?.jsonl
put pax.tar $(($(where pax.tar 'PaxHeaders/2.jsonl') + 40)) x
lines 0 1 2 3 4 5 > want && skips want 1 pax.tar
cp good.tar size.tar && put size.tar "$(($(where good.tar 2.jsonl) + 130))" 7
lines 0 1 3 4 5 > want && skips want 1 size.tar
"$mb_data" cat size.tar 2> err > /dev/null
grep -q "size.tar: after member '1.jsonl' at byte [0-9]*: a tar header is damaged" err ||
    fail "where: $(cat err)"
tar -cf in.tar bad.tar size.tar 0.jsonl && lines 1 3 5 0 1 3 4 5 0 > want
skips want 4 in.tar

if command -v cpio > /dev/null; then
    for format in newc odc; do
        header=$([ $format = newc ] && echo 110 || echo 76)
        printf '%s\n' ?.jsonl | cpio -o -H $format --quiet > good.cpio
        for i in 1 3 5; do
            cp good.cpio bad.cpio
            at=$(where good.cpio $i.jsonl)
            put bad.cpio $((at - header)) x
            lines 0 1 2 3 4 5 | grep -v "\"$i of" > want
            skips want 1 bad.cpio
        done
        lines 0 1 2 3 4 5 > want
        cp good.cpio bad.cpio
        put bad.cpio $(($(where good.cpio TRAILER) - header)) x
        skips want 1 bad.cpio
        # An initramfs: more behind the last entry, as it is or compressed, is told.
        for more in good.cpio 0.jsonl.gz; do
            { cat good.cpio; head -c 512 /dev/zero; cat $more; } > two.cpio
            gzip -c two.cpio > two.cpio.gz
            for file in two.cpio two.cpio.gz; do
                "$mb_data" cat $file > got 2> err && cmp got want || fail "$file: $(cat err)"
                grep -q "$file: more follows after the cpio" err || fail "$file: no note"
            done
        done
        { cat good.cpio; head -c 5000 /dev/zero; } > zeros.cpio
        "$mb_data" cat zeros.cpio 2> err | cmp - want && plain
        [ ! -s err ] || fail "zeros behind a cpio: $(cat err)"
    done
fi
if command -v zip > /dev/null; then
    for store in -0 -9; do
        rm -f good.zip && zip -qX $store good.zip ?.jsonl
        for bad in 1 5 23 135; do
            cp good.zip bad.zip
            rest=
            for i in 0 1 2 3 4 5; do
                case $bad in
                *$i*) put bad.zip "$(($(where good.zip "$i.jsonl") - 30))" x ;;
                *) rest="$rest $i" ;;
                esac
            done
            # shellcheck disable=SC2086
            lines $rest > want
            skips want ${#bad} bad.zip
            tar -cf in.tar bad.zip 0.jsonl && lines 0 >> want && skips want ${#bad} in.tar
        done
    done
    # What is not chosen is not looked into.
    zip -q z.zip 0.jsonl && zip -qP secret z.zip 1.jsonl && zip -q z.zip 2.jsonl
    lines 0 2 > want
    skips want 1 z.zip
    skips want 0 --exclude '1*' z.zip
    skips want 0 --include '[02]*' z.zip
    for side in train val; do # one of the two has the member that cannot be read
        "$mb_data" cat --val-fraction 0.5 --side $side z.zip > $side 2> /dev/null || echo $side
    done | wc -l | grep -q '^1$' || fail "the other side stops a run"
    "$mb_data" cat z.zip 2> err > /dev/null
    grep -q 'encrypted.*--exclude' err && ! grep -q 'what is damaged' err || fail "$(cat err)"
    tar -cf in.tar z.zip 4.jsonl && lines 0 2 4 > want && skips want 1 in.tar
    skips want 0 --exclude '*/1*' in.tar
    # A damaged archive inside may hold what is asked for; a damaged text does not.
    tar -cf look.tar a.gz 5.jsonl && lines 5 > want
    skips want 1 --include '5*' look.tar
    skips want 0 --exclude 'a*' look.tar
fi
if command -v 7z > /dev/null; then
    7z a -bd -bso0 -psecret secret.7z 0.jsonl 1.jsonl > /dev/null
    tar -cf in.tar 2.jsonl secret.7z 3.jsonl && lines 2 3 > want
    skips want 2 in.tar
    7z a -bd -bso0 packs.7z 0.jsonl > /dev/null
    7z a -bd -bso0 -psecret packs.7z 1.jsonl > /dev/null
    7z a -bd -bso0 packs.7z 2.jsonl > /dev/null
    lines 0 2 > want && skips want 1 packs.7z && skips want 0 --exclude '1*' packs.7z
    # Packs of their own, one of them damaged.
    for method in LZMA PPMd BZip2; do
        rm -f own.7z && 7z a -bd -bso0 -ms=off -m0=$method own.7z ?.jsonl > /dev/null
        put own.7z $(($(wc -c < own.7z) / 2)) 'damaged'
        timeout 60 "$mb_data" cat --on-corrupt skip own.7z > got 2> err || fail "own: $(cat err)"
        grep -q '1 damaged' err || fail "own.7z $method: $(cat err)"
    done
fi
finish
