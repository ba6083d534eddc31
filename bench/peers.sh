#!/usr/bin/env bash
# Gets llama.cpp with its Vulkan backend, to be measured beside Cria (bench/compare.sh), and packs it so that it runs
# on any Linux of this architecture with a Vulkan driver, without installing anything.
#
#   peers.sh [ARCHIVE]        default: .peers/llama.tgz (26 MB; a name that ends in .txz gives 14 MB)
#
# The archive holds the folder llama with the programs llama-bench, llama-completion, llama-quantize and llama-server,
# all libraries that they need (their C library too), and make-gguf, which writes models with made-up weights
# (bench/make_gguf.cpp). The packages are Debian's, their signatures checked; nothing is installed. The folder is also left in .deps/peers.
#
# Environment: CRIA_DEBIAN_MIRROR   where to get Debian's packages (default: the mirror apt uses here)
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly ROOT
readonly ARCHIVE=${1:-$ROOT/.peers/llama.tgz}
readonly DEPS=$ROOT/.deps
readonly APT_ROOT=$DEPS/apt-peers
readonly SUITE=forky
readonly PROGRAMS="bench completion quantize server"
readonly PACKAGES="llama.cpp-tools libggml0-backend-vulkan libvulkan1 libx11-6 libxext6"
# As in tools/setup.sh: NVIDIA's driver gives no Vulkan without these, and without what they depend on they are enough.
readonly LONE_PACKAGES="libegl1 libglvnd0"
# What runs on the processor is not measured: the oldest and one with AVX2 are enough of a dozen.
readonly CPU_BACKENDS="x64 haswell"
readonly STAMP="layout 1: $SUITE: $PACKAGES $LONE_PACKAGES $PROGRAMS $CPU_BACKENDS"

die() {
  echo "peers: $*" >&2
  exit 1
}

# shellcheck source=tools/debian.sh
source "$ROOT/tools/debian.sh"

# start_script FOLDER PROGRAM: a script that starts the program with the folder's own loader and libraries. The programs
# look for their backends beside the file that the system started, which is the loader.
start_script() {
  cat >"$1/$2" <<SCRIPT
#!/bin/sh
here=\$(cd "\$(dirname "\$0")" && pwd)
exec "\$here/lib/$loader" --library-path "\$here/lib:$system" "\$here/lib/$2" "\$@"
SCRIPT
  chmod +x "$1/$2"
}

fetch() {
  local package
  echo "peers: getting llama.cpp from Debian $SUITE (about 25 MB)" >&2
  update_private_apt
  # shellcheck disable=SC2086  # lists of words
  { private_apt --download-only --yes install $PACKAGES &&
    (cd "$APT_ROOT/cache/archives" && private_apt download $LONE_PACKAGES); } ||
    die "$PACKAGES $LONE_PACKAGES could not be had from Debian's suite $SUITE ($(apt_complaint))."
  for package in "$APT_ROOT"/cache/archives/*.deb; do
    unpack "$package" "$APT_ROOT/all" './usr/bin/llama-*' './usr/lib/*.so*' './usr/lib64/*' './usr/share/doc/*/copyright'
  done
}

# Puts what the programs need out of $APT_ROOT/all into one folder.
collect() {
  local folder=$1 libraries loader system name roots=()
  libraries=$(dirname "$(echo "$APT_ROOT"/all/usr/lib/*-linux-*/libllama.so.0)")
  system=/usr/lib/$(basename "$libraries")
  loader=$(basename "$(echo "$libraries"/ld-linux-*.so.*)")
  mkdir -p "$folder"/{lib,licenses}
  for name in $PROGRAMS; do
    roots+=("$APT_ROOT/all/usr/bin/llama-$name")
    start_script "$folder" "llama-$name"
  done
  for name in $CPU_BACKENDS; do roots+=("$libraries/ggml/backends0/libggml-cpu-$name.so"); done
  roots+=("$libraries/ggml/backends0/libggml-vulkan.so" "$libraries"/lib{vulkan.so.1,X11.so.6,Xext.so.6,EGL.so.1})
  # A driver's libraries ask for parts of the C library that the programs do not use; all must be of one version.
  for name in c m mvec dl pthread rt util anl resolv nss_dns nss_files; do
    roots+=("$libraries/lib$name.so".[0-9])
  done
  "$ROOT/tools/needed-libraries.sh" "$libraries:$libraries/llama" "${roots[@]}" >"$APT_ROOT/needed"
  printf '%s\n' "${roots[@]}" "$libraries/$loader" >>"$APT_ROOT/needed"
  sort -u "$APT_ROOT/needed" | while read -r name; do cp -L "$name" "$folder/lib/"; done
  for name in "$APT_ROOT"/all/usr/share/doc/*/; do
    cp -L "$name/copyright" "$folder/licenses/$(basename "$name").txt"
  done
  "${CXX:-g++}" -std=c++20 -O2 -static -s -Wall -Wextra -Werror -o "$folder/make-gguf" "$ROOT/bench/make_gguf.cpp"
  "$folder/llama-bench" --help >"$APT_ROOT/help" 2>&1 || die "llama-bench does not start: $(tail -1 "$APT_ROOT/help")."
  echo "$STAMP $(sha256sum <"$ROOT/bench/make_gguf.cpp")" >"$folder/.stamp"
}

is_ready() { [[ -r $DEPS/peers/.stamp && $(<"$DEPS/peers/.stamp") == "$STAMP $(sha256sum <"$ROOT/bench/make_gguf.cpp")" ]]; }

mkdir -p "$DEPS" "$(dirname "$ARCHIVE")"
if ! is_ready; then
  trap 'rm -rf "$APT_ROOT" "$DEPS/peers.tmp"' EXIT
  rm -rf "$APT_ROOT" "$DEPS/peers.tmp"
  fetch
  collect "$DEPS/peers.tmp"
  replace "$DEPS/peers"
fi
tar -C "$DEPS" --owner=0 --group=0 --numeric-owner --sort=name --transform 's|^peers|llama|' --auto-compress \
  -cf "$ARCHIVE.tmp.${ARCHIVE##*.}" peers
mv "$ARCHIVE.tmp.${ARCHIVE##*.}" "$ARCHIVE"
echo "$ARCHIVE ($(du -h "$ARCHIVE" | cut -f1)): unpack it anywhere and name llama/llama-bench to bench/compare.sh"
