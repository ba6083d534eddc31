#!/usr/bin/env bash
# Makes a fresh machine able to build Cria; does nothing, fast, where all is there already.
#
#   setup.sh            what `make run` needs: compiler, libraries, Dawn, and a Vulkan driver for the CPU
#   setup.sh tests      the same, and GoogleTest, SwiftShader (a second Vulkan driver for the CPU), and the JSON Schema
#                       test suite with Python's validator
#   setup.sh lint       the same as tests, and clang-format and clang-tidy
#   setup.sh deploy     the same as tests, and HAProxy and Node.js
#   setup.sh fuzz       what `make fuzz` needs: clang with libFuzzer, and the libraries of the readers; no Dawn
#   setup.sh web        the same as tests, and what tests the web page: Node.js with npm, and Chromium
#
# System packages are installed where this runs as root on a machine with apt, and named in one sentence
# where not. Dawn is unpacked from Debian's packages into .deps/runtime beside the project, with the newer
# C library that it needs: nothing outside .deps is touched for it. docs/setup.md tells more.
#
# Environment: CRIA_DAWN_ROOT       a Dawn installation to use instead
#              CRIA_DEBIAN_MIRROR   where to get Debian's packages (default: the mirror apt uses here)
set -euo pipefail

readonly MODE=${1:-build}
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly ROOT
readonly DEPS=$ROOT/.deps
readonly APT_ROOT=$DEPS/apt

# What is unpacked, and from which Debian suite. A change of either replaces an older .deps/runtime.
readonly SUITE=forky
readonly RUNTIME_PACKAGES="libwebgpu-dawn-dev libvulkan1 mesa-vulkan-drivers libx11-6 libxext6"
# NVIDIA's driver gives no Vulkan without these and X11's libraries, which a machine without a screen often lacks.
# Unpacked without what they depend on: the driver takes the place of Mesa's OpenGL.
readonly LONE_PACKAGES="libegl1 libglvnd0"
readonly RUNTIME_STAMP="layout 2: $SUITE: $RUNTIME_PACKAGES $LONE_PACKAGES"
readonly SWIFTSHADER_STAMP="layout 1: $SUITE"
readonly HEADERS_STAMP="layout 1: $SUITE: cpp-httplib"

say() { echo "setup: $*" >&2; }
die() {
  say "$*"
  exit 1
}

# ---- what is missing on the system ----

missing=()

# need_command PACKAGE COMMAND: a program that must be in PATH.
need_command() { command -v "$2" >/dev/null || missing+=("$1"); }

# need_header PACKAGE HEADER: checked only where Debian's packages are; elsewhere CMake looks for it.
need_header() {
  [[ ! -e /usr/include/$2 && ! -e /usr/local/include/$2 ]] && missing+=("$1")
  return 0
}

# need_file PACKAGE PATH
need_file() { [[ -e $2 ]] || missing+=("$1"); }

find_missing() {
  missing=()
  need_command cmake cmake
  need_command ninja-build ninja
  need_command g++ "${CXX:-g++}"
  if command -v apt-get >/dev/null; then
    need_header libfmt-dev fmt/core.h
    need_header libspdlog-dev spdlog/spdlog.h
    need_header nlohmann-json3-dev nlohmann/json.hpp
    need_header libutf8proc-dev utf8proc.h
    if [[ $MODE == fuzz ]]; then
      need_command clang-19 clang++-19
      need_command llvm-19 llvm-symbolizer-19  # names of functions in what is reported
      compgen -G '/usr/lib/llvm-19/lib/clang/19/lib/linux/libclang_rt.fuzzer-*.a' >/dev/null ||
        missing+=(libclang-rt-19-dev)
      return
    fi
    need_header libcli11-dev CLI/CLI.hpp
    need_header libedit-dev histedit.h
    need_header libmimalloc-dev mimalloc.h
    if [[ $MODE != build ]]; then
      need_header libgtest-dev gtest/gtest.h
      need_file json-schema-test-suite /usr/share/json-schema-test-suite/tests
      need_file python3-jsonschema /usr/lib/python3/dist-packages/jsonschema
    fi
    need_command binutils readelf
    if [[ $MODE == lint ]]; then
      need_command clang-format-19 clang-format-19
      need_command clang-tidy-19 clang-tidy-19
    fi
    if [[ $MODE == web ]]; then
      need_command nodejs node
      need_command npm npm
      need_command chromium chromium
    fi
    if [[ $MODE == deploy ]]; then
      need_command nodejs node
      need_command haproxy haproxy
    fi
    if ! all_is_unpacked; then
      [[ -e $KEYRING ]] || missing+=(debian-archive-keyring)
      need_command util-linux flock
    fi
  fi
}

install_missing() {
  find_missing
  ((${#missing[@]} == 0)) && return
  if ! command -v apt-get >/dev/null; then
    die "please install ${missing[*]} (these are Debian's names) and the libraries fmt, spdlog, nlohmann-json," \
      "CLI11, utf8proc, cpp-httplib, libedit and mimalloc, then run this again."
  elif ((EUID != 0)); then
    die "some packages are missing; please run: sudo apt-get install ${missing[*]}"
  fi
  say "installing ${missing[*]}"
  apt-get -qq update || true  # one broken source of many must not stop the others
  DEBIAN_FRONTEND=noninteractive apt-get -qq --no-install-recommends install "${missing[@]}" </dev/null >"$DEPS/install.log" 2>&1 ||
    die "apt-get could not install ${missing[*]}: $(grep '^E:' "$DEPS/install.log" | head -1)"
  find_missing
  ((${#missing[@]} == 0)) || die "apt-get installed ${missing[*]}, but what they should bring is still not there."
}

# check_version NAME FOUND WANTED: refuses tools that are too old to build C++23.
check_version() {
  local name=$1 found=$2 wanted=$3
  [[ $(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -1) == "$wanted" ]] ||
    die "$name is version $found, and Cria needs $wanted or newer (CXX names another compiler)."
}

# ---- packages from the newer Debian suite ----

# shellcheck source=tools/debian.sh
source "$ROOT/tools/debian.sh"

# ---- Dawn and its runtime ----

has_stamp() { [[ -r $1 && $(<"$1") == "$2" ]]; }

own_dawn() {
  [[ -n ${CRIA_DAWN_ROOT:-} || -e /usr/include/webgpu/webgpu_cpp.h || -e /usr/local/include/webgpu/webgpu_cpp.h ]]
}
runtime_is_ready() { own_dawn || has_stamp "$DEPS/runtime/.stamp" "$RUNTIME_STAMP"; }
all_is_unpacked() { runtime_is_ready && swiftshader_is_ready && headers_are_ready; }
swiftshader_is_ready() { [[ $MODE == build ]] || has_stamp "$DEPS/swiftshader/.stamp" "$SWIFTSHADER_STAMP"; }

# cpp-httplib, one header. Debian 12's is too old: it has known holes.
headers_are_ready() {
  local header
  has_stamp "$DEPS/headers/.stamp" "$HEADERS_STAMP" && return
  for header in /usr/local/include/httplib.h /usr/include/httplib.h; do
    [[ -e $header ]] && grep -qE 'CPPHTTPLIB_VERSION "0\.(4[1-9]|[5-9][0-9])\.' "$header" &&
      grep -q 'inline bool Server::listen' "$header" && return
  done
  return 1
}

# Deletes the libraries that neither Dawn, the Vulkan loader and its drivers, nor the C library need.
prune_libraries() {
  local libraries=$1 file
  local roots=("$libraries"/lib{webgpu_dawn,vulkan,X11,Xext,EGL}.so.[0-9] "$libraries/libvulkan_lvp.so")
  {  # names as programs ask for them, most of them links
    "$ROOT/tools/needed-libraries.sh" "$libraries" "${roots[@]}"
    ls "${roots[@]}" "$libraries/libwebgpu_dawn.so" "$libraries"/lib{c,m,mvec,dl,pthread,rt,util,anl,resolv}.so.[0-9] \
      "$libraries"/libnss_*.so.2 "$libraries"/ld-linux-*
  } | sort -u >"$APT_ROOT/keep"
  xargs -d '\n' readlink -f <"$APT_ROOT/keep" >"$APT_ROOT/keep.files"
  for file in "$libraries"/*; do
    grep -qxF "$file" "$APT_ROOT/keep" "$APT_ROOT/keep.files" || rm -rf "$file"
  done
}

setup_runtime() {
  local runtime=$DEPS/runtime.tmp package libraries
  local manifests=$runtime/usr/share/vulkan/icd.d
  say "getting Dawn and a Vulkan driver for the CPU from Debian $SUITE (about 75 MB)"
  update_private_apt "or CRIA_DAWN_ROOT to a Dawn installation"
  # shellcheck disable=SC2086  # lists of words
  { private_apt --download-only --yes install $RUNTIME_PACKAGES &&
    (cd "$APT_ROOT/cache/archives" && private_apt download $LONE_PACKAGES); } ||
    die "$RUNTIME_PACKAGES $LONE_PACKAGES could not be had from Debian's suite $SUITE ($(apt_complaint))."
  rm -rf "$runtime"
  for package in "$APT_ROOT"/cache/archives/*.deb; do
    unpack "$package" "$runtime" './usr/include/*' './usr/lib/*/*.so*' './usr/lib64/*' './usr/lib/ld-linux-*' \
      './usr/share/doc/*/copyright' './usr/share/vulkan/icd.d/lvp_icd*'
    rm "$package"
  done
  libraries=$(dirname "$(echo "$runtime"/usr/lib/*-linux-*/libwebgpu_dawn.so.0)")
  prune_libraries "$libraries"
  # LLVM looks for its libraries in its own ../lib only, and not where the program says: give it that folder.
  ln -s "$(basename "$libraries")" "$runtime/usr/lib/lib"
  # The driver is named by path, not by soname, which an older one of the system might answer to.
  sed "s|\"libvulkan_lvp.so\"|\"../../../lib/$(basename "$libraries")/libvulkan_lvp.so\"|" \
    "$manifests"/lvp_icd*.json >"$manifests/manifest.tmp"
  rm "$manifests"/lvp_icd*.json
  mv "$manifests/manifest.tmp" "$manifests/lvp_icd.json"
  check_runtime "$libraries"
  echo "$RUNTIME_STAMP" >"$runtime/.stamp"
  replace "$DEPS/runtime"
}

# The unpacked loader must be able to load what it was unpacked for, with nothing of the system's.
check_runtime() {
  local libraries=$1 library loader
  loader=$(echo "$libraries"/ld-linux-*.so.*)
  for library in libwebgpu_dawn.so.0 libvulkan.so.1 libvulkan_lvp.so; do
    "$loader" --inhibit-cache --library-path "$libraries" --list "$libraries/$library" >"$APT_ROOT/list" 2>&1 ||
      die "$library of Debian's suite $SUITE cannot be loaded: $(tail -1 "$APT_ROOT/list")."
    ! grep -q 'not found' "$APT_ROOT/list" ||
      die "$library of Debian's suite $SUITE cannot be loaded: $(grep 'not found' "$APT_ROOT/list" | head -1)."
  done
}

setup_swiftshader() {
  local folder=$DEPS/swiftshader.tmp package file
  say "getting SwiftShader, for the tests, from Debian $SUITE (about 32 MB)"
  update_private_apt "or CRIA_DAWN_ROOT to a Dawn installation"
  (cd "$APT_ROOT" && private_apt download chromium-common) ||
    die "chromium-common could not be had from Debian's suite $SUITE ($(apt_complaint))."
  package=$(echo "$APT_ROOT"/chromium-common_*.deb)
  rm -rf "$folder"
  unpack "$package" "$folder" '*/libvk_swiftshader.so' '*/vk_swiftshader_icd.json' './usr/share/doc/*/copyright'
  rm "$package"
  for file in libvk_swiftshader.so vk_swiftshader_icd.json copyright; do  # the ICD file names its neighbour
    find "$folder/usr" -name "$file" -exec mv {} "$folder/" \;
    [[ -s $folder/$file ]] || die "Debian's package chromium-common no longer holds $file."
  done
  rm -rf "${folder:?}/usr"
  echo "$SWIFTSHADER_STAMP" >"$folder/.stamp"
  replace "$DEPS/swiftshader"
}

setup_headers() {
  say "getting cpp-httplib from Debian $SUITE (the list of sources has about 12 MB)"
  update_private_apt
  rm -rf "$DEPS/headers.tmp"
  fetch_source cpp-httplib "$DEPS/headers.tmp" httplib.h LICENSE ||
    die "cpp-httplib could not be had from Debian's suite $SUITE ($(apt_complaint))."
  mkdir "$DEPS/headers.tmp/include"
  mv "$DEPS/headers.tmp/httplib.h" "$DEPS/headers.tmp/include/"
  mv "$DEPS/headers.tmp/LICENSE" "$DEPS/headers.tmp/copyright.cpp-httplib"
  echo "$HEADERS_STAMP" >"$DEPS/headers.tmp/.stamp"
  replace "$DEPS/headers"
}

# ---- what has to be done ----

case $MODE in
  build | tests | lint | web | deploy | fuzz) ;;
  *) die "there is no mode \"$MODE\": the modes are build, tests, lint, web, deploy and fuzz." ;;
esac
mkdir -p "$DEPS"
install_missing
[[ $MODE != fuzz ]] || exit 0
check_version "${CXX:-g++}" "$("${CXX:-g++}" -dumpversion)" 12
all_is_unpacked && exit 0

command -v apt-get >/dev/null || ! runtime_is_ready ||
  die "the header of cpp-httplib, 0.41 or newer, was not found in /usr/include or /usr/local/include: please install it."
command -v apt-get >/dev/null || die "Dawn was not found: please build or install it and set CRIA_DAWN_ROOT to the" \
  "folder that holds its include and lib folders (only Debian and its relatives get it by themselves)."
exec 9>"$DEPS/lock"
flock --nonblock 9 || {
  say "waiting for another set-up of this folder"
  flock 9
}
trap 'rm -rf "$APT_ROOT" "$DEPS"/*.tmp "$DEPS"/*.old' EXIT
rm -rf "$APT_ROOT"
runtime_is_ready || setup_runtime
headers_are_ready || setup_headers
swiftshader_is_ready || setup_swiftshader
