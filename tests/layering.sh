#!/bin/bash
# layering.sh ROOT ARCHIVE...: the tree is the architecture, and this keeps it so.
#
#     apps -> megabyte -> nn -> tensor      apps -> pipeline
#
# Includes reach only along the arrows; each library (libX.a) defines only symbols that begin with
# X_ and uses none of a library that it may not know; each header compiles alone.
set -uo pipefail
export LC_ALL=C
root=${1:?usage: layering.sh ROOT ARCHIVE...}
shift
status=0

complain()
{
    echo "$*"
    status=1
}

# The folders that a folder's sources may include from.
known_to()
{
    case $1 in
    tensor) echo tensor ;;
    nn) echo nn tensor ;;
    megabyte) echo megabyte nn tensor ;;
    pipeline) echo pipeline ;;
    apps) echo apps megabyte nn tensor pipeline ;;
    esac
}

check_includes()
{
    local folder file line target
    while IFS=: read -r file line target; do
        folder=${file%%/*}
        case " $(known_to "$folder") " in
        *" ${target%%/*} "*) ;;
        *) complain "$file:$line: $folder must not include \"$target\"" ;;
        esac
    done < <(cd "$root" && grep -rnE --include='*.[ch]' --include='*.comp' --include='*.glsl' \
        '^ *# *include *[<"](tensor|nn|megabyte|pipeline|apps|tests|\.\.)/' \
        tensor nn megabyte pipeline apps |
        sed -E 's/^([^:]*:[0-9]+:).*include *[<"]([^">]*).*/\1\2/')
}

# Names that the compiler adds by itself (sanitizers, profiling) begin with two underscores; vk… and
# volk… are volk's table of Vulkan's entry points, which comes as source (tensor/vulkan/volk.c).
check_symbols()
{
    local archive name library other
    for archive in "$@"; do
        library=$(basename "$archive" .a)
        library=${library#lib}
        [[ -s $archive ]] || complain "$archive: missing"
        while read -r name; do
            complain "lib$library.a: symbol $name does not begin with ${library}_"
        done < <(nm -g --defined-only "$archive" 2>/dev/null | awk 'NF == 3 { print $3 }' |
            grep -vE "^(${library}_|__|DW\.ref\.|vk[A-Z]|volk)" | sort -u)
        for other in tensor nn megabyte pipeline; do
            case " $(known_to "$library") " in *" $other "*) continue ;; esac
            while read -r name; do
                complain "lib$library.a: uses $name, which is above or beside it"
            done < <(nm -g --undefined-only "$archive" 2>/dev/null |
                awk -v other="^${other}_" '$NF ~ other { print $NF }' | sort -u)
        done
    done
}

# Headers that need Vulkan's are passed over where these are missing.
check_headers()
{
    local header vulkan='' compiler=${CC:-cc}
    echo '#include <volk.h>' | $compiler -fsyntax-only -xc - 2>/dev/null && vulkan=yes
    while IFS= read -r header; do
        if [[ $header == tensor/vulkan/* && -z $vulkan ]]; then continue; fi
        # An include of the header, so that the compiler does not take it for the main file.
        echo "#include \"$header\"" |
            $compiler -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter \
                -Wno-unknown-pragmas -Werror -fsyntax-only -I"$root" -xc - ||
            complain "$header: does not compile alone"
    done < <(cd "$root" && find tensor nn megabyte pipeline apps -name '*.h' | sort)
}

check_includes
check_symbols "$@"
check_headers
(($# > 0)) || complain "no archives given"
exit $status
