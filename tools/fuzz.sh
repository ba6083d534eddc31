#!/usr/bin/env bash
# Runs the fuzz targets of a build with libFuzzer, one after the other, and names what they find.
#
#   fuzz.sh BUILD_FOLDER [TARGET...]     without targets: all of tests/fuzz
#
# Inputs that reach new code are kept in BUILD_FOLDER/corpus, those that are findings in BUILD_FOLDER/findings.
# Environment: FUZZ_SECONDS   for each target (default: 60)
set -euo pipefail

build=$(cd "$1" && pwd)
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
(($# > 0)) || mapfile -t all < <(sed -nE 's/^CRIA_FUZZ_TARGET\((\w+),.*/\1/p' tests/fuzz/*.cpp)
(($# > 0)) || set -- "${all[@]}"

export ASAN_OPTIONS=${ASAN_OPTIONS:-allocator_may_return_null=1} UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
ASAN_SYMBOLIZER_PATH=${ASAN_SYMBOLIZER_PATH:-$(command -v llvm-symbolizer-19 || true)}
export ASAN_SYMBOLIZER_PATH

# Targets that need files write them here: in memory where there is such a place.
parent=${TMPDIR:-/tmp}
[[ ! -w /dev/shm ]] || parent=/dev/shm
TMPDIR=$(mktemp -d "$parent/cria-fuzz-XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

# stat NAME LOG: a number that libFuzzer prints at its end.
stat() { sed -nE "s/^stat::$1: *([0-9]+)/\1/p" "$2"; }

findings=()
total=0
for target in "$@"; do
  program=$build/tests/fuzz/fuzz_$target
  [[ -x $program ]] || { echo "fuzz: there is no target \"$target\" in tests/fuzz" >&2; exit 2; }
  max_bytes=$(sed -nE "s/^CRIA_FUZZ_TARGET\($target, ([0-9]+)\).*/\1/p" "tests/fuzz/$target.cpp")
  words=tests/fuzz/$target.dict
  log=$build/$target.log
  mkdir -p "$build/corpus/$target" "$build/findings"
  rc=0
  # shellcheck disable=SC2046  # no argument where there is no dictionary
  "$program" -max_total_time="${FUZZ_SECONDS:-60}" -max_len="$max_bytes" -timeout=10 -rss_limit_mb=2048 \
    -malloc_limit_mb=256 -print_final_stats=1 -artifact_prefix="$build/findings/$target-" \
    $([[ ! -e $words ]] || echo "-dict=$words") \
    "$build/corpus/$target" "tests/fuzz/corpus/$target" >"$log" 2>&1 || rc=$?
  runs=$(stat number_of_executed_units "$log")
  total=$((total + ${runs:-0}))
  printf '%-16s %12s runs, %6s a second%s\n' "$target" "${runs:-?}" "$(stat average_exec_per_sec "$log")" \
    "$( ((rc == 0)) || echo "   FOUND SOMETHING")"
  ((rc == 0)) || findings+=("$(sed -nE 's/.*Test unit written to (.*)/\1/p' "$log" | tail -1) (see $log)")
done
printf '%-16s %12s runs\n' all "$total"
((${#findings[@]} == 0)) && exit 0
printf 'finding: %s\n' "${findings[@]}" >&2
exit 1
