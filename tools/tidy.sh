#!/usr/bin/env bash
# Runs clang-tidy over Cria's own sources, as many at a time as there are processors.
#
#   tidy.sh BUILD_FOLDER [FILE...]     without files: all of src, include, examples and tests
set -euo pipefail

build=$1
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if (($# == 0)); then
  mapfile -t files < <(git ls-files --cached --others --exclude-standard 'src/*_posix.cpp' 'src/*.cpp' 'examples/*.cpp' \
    'bench/*.cpp' 'tests/*.cpp' ':!:*_windows.cpp' | sort -u)
  set -- "${files[@]}"
fi
# GCC has warning flags that clang does not know.
printf '%s\0' "$@" | xargs -0 -n 1 -P "$(nproc)" clang-tidy-19 -p "$build" --quiet --extra-arg=-Wno-unknown-warning-option
