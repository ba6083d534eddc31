#!/usr/bin/env bash
# Measures `cria serve` beside llama.cpp's llama-server: the same device and GGUF file, both with continuous batching,
# loaded in turn by bench/serve_load.py. Prints its figures and their ratio. Needs bash and Python 3.
#
#   serve_compare.sh [OPTIONS] [-- OPTIONS OF cria serve]
#
#   --cria PROGRAM       cria                                          (or the environment variable CRIA)
#   --llama FOLDER       what bench/peers.sh packed, unpacked; none: Cria alone                  (or LLAMA) [none]
#   --model PATH         a GGUF file, or for Cria alone any model; else one of --shape with made-up weights is written
#   --shape SHAPE        of `cria bench --list-shapes`, Llama's family, or a shape's dimensions  [llama-8b]
#   --type TYPE          of the written file, as make_gguf.cpp has them; q8_0 is int8 for Cria  [q8_0]
#   --models FOLDER      keep the written file here and use the one that is there; else it is deleted
#   --streams N          32    requests at once, and slots of both servers
#   --prompt-tokens N    256
#   --new-tokens N       128
#   --requests N               in each round [4 for each stream]
#   --rounds N           3     first one server, then the other
#   --shared-tokens N    0     tokens that all prompts begin with: what does a system prompt cost the second request?
#   --overhead           one stream of `cria serve` beside the same steps in `cria bench`, without llama.cpp
#   --wait SECONDS       600   for a server to load the model
#
# Environment: LLAMA_SERVER_FLAGS adds to llama-server's options, and GGML_VK_VISIBLE_DEVICES chooses its device where
# there are several.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cria=${CRIA:-cria}
llama=${LLAMA:-none}
model=
shape=llama-8b
type=q8_0
models=
streams=32
prompt_tokens=256
new_tokens=128
requests=
rounds=3
shared_tokens=0
overhead=
wait=600

die() {
  echo "serve_compare: $*" >&2
  exit 2
}

while (($# > 0)); do
  case $1 in
    --) shift && break ;;
    --overhead) overhead=1 && shift ;;
    --cria | --llama | --model | --shape | --type | --models | --streams | --prompt-tokens | --new-tokens | --requests | \
      --rounds | --shared-tokens | --wait)
      (($# > 1)) || die "$1 needs a value"
      name=${1#--}
      printf -v "${name//-/_}" '%s' "$2"
      shift 2
      ;;
    *) die "there is no option \"$1\" (the first lines of this script list them)" ;;
  esac
done
more=("$@")
if [[ $overhead ]]; then
  llama=none
  streams=1
fi

command -v "$cria" >/dev/null || die "$cria: is not a program; name Cria's with --cria or CRIA"
[[ $llama == none || -x $llama/llama-server ]] || die "$llama: has no llama-server; name a folder that bench/peers.sh packed"

work=$(mktemp -d)
servers=()
finish() {
  ((${#servers[@]} == 0)) || kill "${servers[@]}" 2>/dev/null || true
  wait
  rm -rf "$work"
}
trap finish EXIT
mkdir -p "${models:=$work/models}"

if [[ ! $model ]]; then
  maker=$llama/make-gguf
  if [[ ! -x $maker ]]; then
    maker=$work/make-gguf
    "${CXX:-g++}" -std=c++20 -O2 -o "$maker" "$here/make_gguf.cpp"
  fi
  dimensions=$shape
  [[ $shape == *=* ]] || dimensions=$("$cria" bench --list-shapes | awk -v shape="$shape" '$1 == shape { print $2 }')
  [[ $dimensions ]] || die "there is no shape \"$shape\" (cria bench --list-shapes lists them)"
  model=$models/${shape//[^A-Za-z0-9.-]/_}-$type.gguf
  if [[ ! -e $model ]]; then
    "$maker" "$dimensions" "$type" "$model.tmp"
    mv "$model.tmp" "$model"
  fi
fi

# A context that holds a prompt and its answer, in whole pages.
context=$(((shared_tokens + prompt_tokens + new_tokens + 64) / 32 * 32))

# start NAME COMMAND...: a server in the background, its output in files.
start() {
  local name=$1
  shift
  "$@" >"$work/$name.out" 2>"$work/$name.err" &
  servers+=($!)
}

start cria "$cria" serve "$model" --port 0 --slots "$streams" --max-context "$context" --max-connections $((2 * streams)) \
  "${more[@]}"
cria_process=$!
for ((tenths = 0; tenths < 10 * wait; ++tenths)); do
  [[ ! -s $work/cria.out ]] || break
  kill -0 $cria_process 2>/dev/null || die "cria serve ended: $(tail -1 "$work/cria.err")"
  sleep 0.1
done
urls=("cria=$(head -1 "$work/cria.out")")
if [[ $llama != none ]]; then
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  # shellcheck disable=SC2086  # a list of words
  start llama "$llama/llama-server" -m "$model" -c $((context * streams)) -np "$streams" -cb -ngl 99 -fa on \
    --host 127.0.0.1 --port "$port" ${LLAMA_SERVER_FLAGS:-}
  urls+=("llama=http://127.0.0.1:$port")
fi

load=("$here/serve_load.py" "${urls[@]}" --streams "$streams" --prompt-tokens "$prompt_tokens" --new-tokens "$new_tokens"
  --shared-tokens "$shared_tokens" --rounds "$rounds" --wait "$wait")
[[ ! $requests ]] || load+=(--requests "$requests")
python3 "${load[@]}" | tee "$work/figures" || {
  tail -n 3 "$work"/*.err >&2
  exit 1
}

if [[ $overhead ]]; then
  kill "${servers[@]}"
  wait
  servers=()
  "$cria" bench "$model" -p 0 -n "$new_tokens" --depth "$prompt_tokens" -r 5 --format csv 2>"$work/bench.err" \
    >"$work/bench.csv" || die "$(tail -1 "$work/bench.err")"
  # The median of tokens/s; fields before it may be quoted and hold commas: the samples are the fifth from the end.
  alone=$(awk -F, 'NR == 2 { n = split($(NF - 4), samples, " "); for (i = 1; i <= n; i++) print samples[i] }' \
    "$work/bench.csv" | sort -g | awk '{ x[NR] = $1 } END { print x[int((NR + 1) / 2)] }')
  served=$(tail -1 "$work/figures" | python3 -c 'import json, sys
print(json.load(sys.stdin)["servers"]["cria"]["decode_tokens_per_second_of_a_stream"])')
  awk -v served="$served" -v alone="$alone" 'BEGIN {
    printf "one stream: %.1f tokens/s served, %.1f in cria bench: %.3f of it\n", served, alone, served / alone }'
fi
