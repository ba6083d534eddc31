#!/usr/bin/env bash
# Packs a build of Cria into one archive that runs on any Linux of this architecture with a Vulkan driver,
# without installing anything: dist/cria-VERSION-linux-ARCH.tar.gz.
#
#   bundle.sh BUILD_FOLDER          (`make bundle` builds it first)
#
#   bin/cria                        a small static program that starts lib/cria with the libraries beside it
#   lib/                            the program, Dawn, the Vulkan loader, the C library and all that they need
#   share/vulkan/icd.d/             a Vulkan driver for the CPU           (only with BUNDLE_SOFTWARE=1)
#   models/cria-stories-11m/        the default model                     (not with BUNDLE_MODEL=0)
#   licenses/                       Cria's, and those of everything in lib/
set -euo pipefail

build=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly RUNTIME=$PWD/.deps/runtime
readonly HEADER_ONLY_PACKAGES="libcli11-dev nlohmann-json3-dev"  # compiled into the program

[[ -e $RUNTIME/.stamp ]] || {
  echo "bundle: Dawn's private runtime (.deps/runtime) is not there; unset CRIA_DAWN_ROOT and run make setup" >&2
  exit 1
}

version=$("$build/bin/cria" --version)
arch=$(uname -m)
name=cria-${version#cria }-linux-$arch
libraries=$(dirname "$(echo "$RUNTIME"/usr/lib/*-linux-*/libwebgpu_dawn.so.0)")
system=/usr/lib/$(basename "$libraries")
loader=$(basename "$(echo "$libraries"/ld-linux-*.so.*)")

mkdir -p dist
work=$(mktemp -d dist/.bundle-XXXXXX)
trap 'rm -rf "$work"' EXIT
bundle=$work/$name
mkdir -p "$bundle"/{bin,lib,licenses}

# ---- the program and its libraries ----

shopt -s nullglob
# The last three are for NVIDIA's driver, on machines that have no screen and so lack them.
roots=("$build/bin/cria" "$libraries"/lib{vulkan.so.1,X11.so.6,Xext.so.6,EGL.so.1})
# A driver's libraries ask for parts of the C library that Cria itself does not use; all must be of one version.
for part in c m mvec dl pthread rt util anl resolv nss_compat nss_dns nss_files; do
  roots+=("$libraries"/lib"$part".so.*)
done
if [[ ${BUNDLE_SOFTWARE:-0} == 1 ]]; then
  roots+=("$libraries/libvulkan_lvp.so")
  mkdir -p "$bundle/share/vulkan/icd.d"
  sed 's|"library_path": ".*"|"library_path": "../../../lib/libvulkan_lvp.so"|' \
    "$RUNTIME/usr/share/vulkan/icd.d/lvp_icd.json" >"$bundle/share/vulkan/icd.d/lvp_icd.json"
fi
tools/needed-libraries.sh "$libraries:$system" "${roots[@]}" >"$work/needed"
printf '%s\n' "${roots[@]:1}" "$libraries/$loader" >>"$work/needed"
sort -u -o "$work/needed" "$work/needed"

# A release build has no debug information, but symbol tables; they are a third of the program.
while read -r library; do
  cp -L "$library" "$bundle/lib/$(basename "$library")"
done <"$work/needed"
strip --strip-unneeded -o "$bundle/lib/cria" "$build/bin/cria"
# Libraries come from the bundle alone, even on the machine that built it.
# shellcheck disable=SC2016  # CMake fills it in
echo 'file(RPATH_REMOVE FILE "${PROGRAM}")' >"$work/remove_rpath.cmake"
cmake "-DPROGRAM=$bundle/lib/cria" -P "$work/remove_rpath.cmake" >/dev/null
"${CXX:-g++}" -std=c++20 -Os -static -s -Wall -Wextra -Werror "-DCRIA_LOADER=\"$loader\"" \
  -o "$bundle/bin/cria" tools/bundle_launcher.cpp

# ---- the model and the licences ----

if [[ ${BUNDLE_MODEL:-1} == 1 ]]; then
  mkdir -p "$bundle/models"
  cp -R models/cria-stories-11m "$bundle/models/"
else
  name+=-no-model
fi
[[ ${BUNDLE_SOFTWARE:-0} == 1 ]] && name+=-software

cp LICENSE-MIT LICENSE-APACHE "$bundle/licenses/"
for package in marked preact; do  # in the web page, where that was built
  [[ ! -e $build/web/node_modules/$package ]] ||
    cp "$build/web/node_modules/$package/LICENSE" "$bundle/licenses/npm-$package.txt"
done
# The unpacked runtime keeps one copyright file per package; for the system's libraries dpkg knows the package.
while read -r library; do
  case $library in "$system"/*) dpkg -S "$(readlink -f "$library")" | cut -d: -f1 ;; esac
done <"$work/needed" >"$work/packages"
tr ' ' '\n' <<<"$HEADER_ONLY_PACKAGES" >>"$work/packages"
while read -r package; do
  cp -L "/usr/share/doc/$package/copyright" "$bundle/licenses/$package.txt"
done < <(sort -u "$work/packages")
for folder in "$RUNTIME"/usr/share/doc/*/; do
  cp -L "$folder/copyright" "$bundle/licenses/$(basename "$folder").txt"
done
for file in .deps/headers/copyright.*; do
  cp -L "$file" "$bundle/licenses/${file#.deps/headers/copyright.}.txt"
done

# Debian's copyright files refer to these texts.
mkdir "$bundle/licenses/common-licenses"
for text in Apache-2.0 GPL-2 GPL-3 LGPL-2 LGPL-2.1 LGPL-3; do
  cp -L "/usr/share/common-licenses/$text" "$bundle/licenses/common-licenses/"
done

# ---- the archive ----

[[ $(basename "$bundle") == "$name" ]] || mv "$bundle" "$work/$name"
tar -C "$work" --owner=0 --group=0 --numeric-owner --sort=name -cf - "$name" | gzip -9 >"$work/archive"
mv "$work/archive" "dist/$name.tar.gz"
echo "dist/$name.tar.gz ($(du -h "dist/$name.tar.gz" | cut -f1)): unpack it anywhere and start bin/cria"
