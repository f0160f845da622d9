#!/bin/bash
# style.sh [ROOT]: what every source of the tree keeps to. Prints each offence as FILE:LINE.
set -uo pipefail
cd "${1:-$(dirname "$0")/..}" || exit 1
export LC_ALL=C

file_lines=800
function_lines=100
readme_lines=200
columns=100

# Found by walking, since an unpacked release is no git checkout. A folder that Meson builds in is
# passed over by what it holds, since it may have any name.
sources()
{
    find . \( -name .git -o -path './build*' -o -path './subprojects/*/*' \
        -o -type d -exec test -e '{}/meson-private' \; \) -prune -o -type f \
        \( -name '*.[ch]' -o -name '*.comp' -o -name '*.glsl' -o -name '*.sh' -o -name '*.py' \
        -o -name meson.build -o -name meson_options.txt -o -path './tools/*' -o -path './.ci/*' \) \
        ! -name '*.pyc' -print | sort
}

# One pass over all files. Columns are characters: bytes that continue one in UTF-8 do not count.
# A function begins at "{" in the first column, or behind a ")" on a line that is not indented.
lint()
{
    awk -v file_lines=$file_lines -v function_lines=$function_lines -v columns=$columns '
        function complain(text) { print substr(FILENAME, 3) ":" FNR ": " text; bad = 1 }
        BEGIN { mark = "(^|[^A-Za-z_])(TO" "DO|FIX" "ME|XX" "X)([^A-Za-z_]|$)" }
        FNR == 1 { begin = 0 }
        /[ \t\r]$/ { complain("trailing white space") }
        /\t/ { complain("tab") }
        $0 ~ mark { complain("unfinished: " $0) }
        FNR == file_lines + 1 { complain("file of more than " file_lines " lines") }
        {
            line = $0
            gsub(/[\200-\277]/, "", line)
            if (length(line) > columns) complain(length(line) " columns")
        }
        /^\{$/ || /^[A-Za-z_].*\) *\{$/ { begin = FNR }
        /^\}/ {
            if (begin && FNR - begin - 1 > function_lines)
                complain("function of " FNR - begin - 1 " lines")
            begin = 0
        }
        END { exit bad }' "$@"
}

# Their last bytes are all newlines, or it is looked for.
end_in_newlines()
{
    local file
    [[ -z $(tail -qc 1 "$@") ]] && return
    for file in "$@"; do
        [[ -z $(tail -c 1 "$file") ]] || echo "${file#./}: no newline at the end"
    done
    return 1
}

main()
{
    local files status=0
    mapfile -t files < <(sources)
    if ((${#files[@]} == 0)); then
        echo "no sources found"
        return 1
    fi
    lint "${files[@]}" || status=1
    end_in_newlines "${files[@]}" || status=1
    if [[ -e README.md ]] && (($(wc -l <README.md) > readme_lines)); then
        echo "README.md: more than $readme_lines lines"
        status=1
    fi
    echo "${#files[@]} sources read"
    return "$status"
}

main
