# Packages from a newer Debian suite, unpacked beside the project instead of installed. Sourced by tools/setup.sh and
# bench/peers.sh, which set before:
#
#   SUITE      the suite, for example forky
#   APT_ROOT   a folder for apt's lists and downloads, which they delete at the end
#   die        a function that prints its arguments as one sentence and ends the script
#
# Environment: CRIA_DEBIAN_MIRROR   where to get Debian's packages (default: the mirror apt uses here)
# shellcheck shell=bash

readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# The mirrors that apt uses on this machine for Debian itself, the likeliest first.
debian_mirrors() {
  if [[ -n ${CRIA_DEBIAN_MIRROR:-} ]]; then
    echo "$CRIA_DEBIAN_MIRROR"
    return
  fi
  # shellcheck disable=SC2016  # apt fills these in
  apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 2>/dev/null | sort -u |
    awk -F'|' '$1 == "Debian" && $2 == "Debian" { print $3; next } $1 == "" && $3 ~ /debian/ && $3 !~ /security/ { print $3 }'
}

# apt with a state of its own in APT_ROOT: nothing of the system's is read but its keys and network settings.
private_apt() {
  apt-get -qq -o Dir::Etc::sourcelist="$APT_ROOT/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::Etc::preferences=- -o Dir::Etc::preferencesparts=- -o Dir::State="$APT_ROOT/state" \
    -o Dir::State::status="$APT_ROOT/status" -o Dir::Cache="$APT_ROOT/cache" -o APT::Install-Recommends=0 \
    -o APT::Sandbox::User="$(id -un)" -o APT::Update::Error-Mode=any -o Acquire::Retries=3 -o Acquire::Languages=none \
    "$@" </dev/null >>"$APT_ROOT/log" 2>&1
}

apt_complaint() { grep -m1 -E '^(E|W):' "$APT_ROOT/log" || true; }

# update_private_apt [OTHER_WAY]: fills APT_ROOT with the package lists of the suite, once for each run of a script.
# OTHER_WAY ends the advice where there is no mirror.
update_private_apt() {
  [[ -e $APT_ROOT/updated ]] && return
  [[ -e $KEYRING ]] || die "$KEYRING is missing: please install the package debian-archive-keyring."
  rm -rf "$APT_ROOT"
  mkdir -p "$APT_ROOT"/{state/lists/partial,cache/archives/partial}
  : >"$APT_ROOT/status"
  local mirror tried=
  while read -r mirror; do
    tried=1
    echo "deb [signed-by=$KEYRING] $mirror $SUITE main" >"$APT_ROOT/sources.list"
    if private_apt update; then
      : >"$APT_ROOT/updated"
      return
    fi
  done < <(debian_mirrors)
  [[ -n $tried ]] || die "apt has no Debian mirror on this machine: please set CRIA_DEBIAN_MIRROR to one${1:+, $1}."
  die "Debian's suite $SUITE could not be read from this machine's mirror ($(apt_complaint)):" \
    "please set CRIA_DEBIAN_MIRROR to another one${1:+, $1}."
}

# fetch_source PACKAGE FOLDER FILE...: files of the package's upstream source, put into the folder without theirs.
fetch_source() {
  local package=$1 folder=$2 archive
  shift 2
  if ! grep -q '^deb-src' "$APT_ROOT/sources.list"; then
    sed 's/^deb /deb-src /' "$APT_ROOT/sources.list" >"$APT_ROOT/sources.src"
    cat "$APT_ROOT/sources.src" >>"$APT_ROOT/sources.list"
    private_apt update || return 1
  fi
  (cd "$APT_ROOT" && private_apt --download-only source "$package") || return 1
  archive=$(echo "$APT_ROOT/$package"_*.orig.tar.*)
  mkdir -p "$folder"
  tar -C "$folder" -xf "$archive" --no-same-owner --strip-components=1 --wildcards "${@/#/*/}" || return 1
  rm "$archive"
}

# unpack PACKAGE_FILE FOLDER PATTERN...: the files of a package that match, and nothing else.
unpack() {
  local package=$1 folder=$2
  shift 2
  mkdir -p "$folder"
  # tar fails where a pattern matches nothing, as it does for most packages; a broken archive fails in dpkg-deb.
  dpkg-deb --fsys-tarfile "$package" >"$APT_ROOT/package.tar" || die "$(basename "$package") could not be unpacked."
  tar -C "$folder" -xf "$APT_ROOT/package.tar" --no-same-owner --wildcards "$@" 2>"$APT_ROOT/tar.log" ||
    ! grep -v -e 'Not found in archive' -e 'Exiting with failure' "$APT_ROOT/tar.log" >&2 ||
    die "$(basename "$package") could not be unpacked into $folder."
}

# replace FOLDER: puts FOLDER.tmp, which is whole now, in its place.
replace() {
  rm -rf "$1.old"
  [[ ! -e $1 ]] || mv -T "$1" "$1.old"
  mv -T "$1.tmp" "$1"
  rm -rf "$1.old"
}
