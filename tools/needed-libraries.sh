#!/usr/bin/env bash
# Prints the path of every shared library that the given ELF files need, directly or through one another.
#
#   needed-libraries.sh FOLDER[:FOLDER...] FILE...
#
# Libraries are looked for in the folders, in that order. One that is in none of them is an error.
# Used by setup.sh (what to keep of the runtime) and bundle.sh (what to put into the bundle).
set -euo pipefail

IFS=: read -ra folders <<<"$1"
shift

declare -A seen=()
queue=("$@")
while ((${#queue[@]} > 0)); do
  file=${queue[0]}
  queue=("${queue[@]:1}")
  while read -r name; do
    [[ -n ${seen[$name]:-} ]] && continue
    seen[$name]=1
    found=
    for folder in "${folders[@]}"; do
      if [[ -e $folder/$name ]]; then
        found=$folder/$name
        break
      fi
    done
    if [[ -z $found ]]; then
      echo "$file needs the library $name, which is in none of: ${folders[*]}" >&2
      exit 1
    fi
    echo "$found"
    queue+=("$found")
  done < <(readelf --dynamic --wide "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p')
done
