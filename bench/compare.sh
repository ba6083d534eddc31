#!/usr/bin/env bash
# Measures Cria beside llama.cpp: the same device, shapes and lengths, made-up weights, the two programs in turn.
# Prints a Markdown table of medians and their ratios. Needs bash and awk, and nothing installed.
#
#   compare.sh [OPTIONS] [-- OPTIONS OF cria bench]
#
#   --cria PROGRAM      cria                                          (or the environment variable CRIA)
#   --llama FOLDER      what bench/peers.sh packed, unpacked          (or LLAMA)
#   --shapes LIST       of `cria bench --list-shapes`, Llama's family [llama-1.1b]; or one shape's dimensions
#   --types LIST        pairs of a type of Cria's and one of llama.cpp's: f16, q8_0, q4_0, q4_k, q5_k, q6_k  [f16=f16]
#                       or file=TYPE: Cria reads the GGUF file that llama.cpp reads, as it does with the mixtures of types
#                       that most people's files are: q4_k_m=q4_k_m, q5_k_m=q5_k_m
#   --prompt-tokens N   512;  0: none
#   --gen-tokens N      128;  0: none
#   --depth N           0     tokens in the context before the measurement
#   --repetitions N     5     of each program in each round
#   --rounds N          3     first one program, then the other
#   --models FOLDER     keep the written GGUF files here and use those that are there; else they are deleted
#
# Differences that remain: Cria's tg draws tokens (greedily, on the GPU) and waits for each to arrive on the CPU;
# llama-bench draws none, and feeds random tokens. Both read the prompt with the logits of its last token.
# GGML_VK_VISIBLE_DEVICES chooses llama.cpp's device where there are several, --device (after --) Cria's.
set -euo pipefail

cria=${CRIA:-cria}
llama=${LLAMA:-llama}
shapes=llama-1.1b
types=f16=f16
prompt_tokens=512
gen_tokens=128
depth=0
repetitions=5
rounds=3
models=

die() {
  echo "compare: $*" >&2
  exit 2
}

while (($# > 0)); do
  case $1 in
    --) shift && break ;;
    --cria | --llama | --shapes | --types | --prompt-tokens | --gen-tokens | --depth | --repetitions | --rounds | --models)
      (($# > 1)) || die "$1 needs a value"
      name=${1#--}
      printf -v "${name//-/_}" '%s' "$2"
      shift 2
      ;;
    *) die "there is no option \"$1\" (the first lines of this script list them)" ;;
  esac
done
more=("$@")

command -v "$cria" >/dev/null || die "$cria: is not a program; name Cria's with --cria or CRIA"
[[ -x $llama/llama-bench && -x $llama/make-gguf ]] ||
  die "$llama: has no llama-bench and make-gguf; name a folder that bench/peers.sh packed with --llama or LLAMA"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "${models:=$work/models}"

# dimensions SHAPE: as make-gguf reads them.
dimensions() {
  [[ $1 == *=* ]] && echo "$1" && return
  "$cria" bench --list-shapes | awk -v shape="$1" '$1 == shape { print $2 }' | grep . ||
    die "there is no shape \"$1\" (cria bench --list-shapes lists them)"
}

# Each appends lines "TEST PROGRAM TOKENS_PER_SECOND" to the samples, one for each repetition.
run_cria() {
  local model=(--shape "$1" --weights "$2")
  case $2 in file | *_m) model=("$3") ;; esac
  "$cria" bench "${model[@]}" -p "$prompt_tokens" -n "$gen_tokens" --depth "$depth" -r "$repetitions" \
    --format csv "${more[@]}" 2>"$work/errors" >"$work/output" || die "$(tail -1 "$work/errors")"
  # Fields before those wanted may be quoted and hold commas: count from the end.
  awk -F, 'NR > 1 { n = split($(NF - 4), samples, " "); for (i = 1; i <= n; i++) print $(NF - 11), "cria", samples[i] }' \
    "$work/output" >>"$work/samples"
  awk 'NR == 2' "$work/output" >"$work/device"
}

run_llama() {
  "$llama/llama-bench" -m "$1" -p "$prompt_tokens" -n "$gen_tokens" -d "$depth" -r "$repetitions" -fa 1 -ngl 99 -o json \
    2>"$work/errors" >"$work/output" || die "llama-bench failed: $(tail -1 "$work/errors")"
  grep -q '"backends": "Vulkan"' "$work/output" || die "llama-bench found no device: $(grep -m1 Vulkan "$work/errors")"
  awk -F'[:,]' '
    { gsub(/\[|\]/, "") }
    /"n_prompt":/ { test = $2 + 0 > 0 ? "pp" ($2 + 0) : "" }
    /"n_gen":/ { if (test == "") test = "tg" ($2 + 0) }
    /"samples_ts":/ { for (i = 2; i <= NF; i++) if ($i + 0 > 0) print test, "llama", $i + 0 }' \
    "$work/output" >>"$work/samples"
}

# statistics TEST PROGRAM: "MEDIAN LOWEST HIGHEST" of the samples.
statistics() {
  awk -v test="$1" -v program="$2" '$1 == test && $2 == program { print $3 }' "$work/samples" | sort -g |
    awk '{ x[NR] = $1 } END { print (NR % 2 ? x[(NR + 1) / 2] : (x[NR / 2] + x[NR / 2 + 1]) / 2), x[1], x[NR] }'
}

print_row() {
  local shape=$1 type=$2 test=$3
  # shellcheck disable=SC2046  # two times three words
  set -- $(statistics "$test" cria) $(statistics "$test" llama)
  (($# == 6)) || return 0
  [[ $depth == 0 ]] || test+=" @ d$depth"
  awk -v head="| $shape | $type | $test" -v a="$1" -v b="$2" -v c="$3" -v d="$4" -v e="$5" -v f="$6" 'BEGIN {
    printf "%s | %.1f | %.1f to %.1f | %.1f | %.1f to %.1f | %.2f |\n", head, a, b, c, d, e, f, a / d }'
}

compare_type() {
  local shape=$1 cria_type=${2%%=*} llama_type=${2#*=} file dims round
  file=$models/${shape//[^A-Za-z0-9.-]/_}-$llama_type.gguf
  if [[ ! -e $file ]]; then
    dims=$(dimensions "$shape")
    "$llama/make-gguf" "$dims" "$llama_type" "$file.tmp"
    mv "$file.tmp" "$file"
  fi
  # Once beforehand: what the programs keep between runs, kernels compiled or chosen by measurement, is there then.
  repetitions=1 run_cria "$shape" "$cria_type" "$file"
  repetitions=1 run_llama "$file"
  : >"$work/samples"
  for ((round = 0; round < rounds; ++round)); do
    run_cria "$shape" "$cria_type" "$file"
    run_llama "$file"
  done
  [[ $models != "$work/models" ]] || rm "$file"
  print_row "$shape" "$2" "pp$prompt_tokens"
  print_row "$shape" "$2" "tg$gen_tokens"
}

echo "| shape | weights | test | Cria tokens/s | lowest to highest | llama.cpp tokens/s | lowest to highest | ratio |"
echo "|---|---|---|--:|--:|--:|--:|--:|"
[[ $shapes == *=* ]] || shapes=${shapes//,/ }  # dimensions are one shape, commas and all
for shape in $shapes; do
  for pair in ${types//,/ }; do
    compare_type "$shape" "$pair"
  done
done
