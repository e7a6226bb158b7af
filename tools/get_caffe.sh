#!/bin/bash
# usage: tools/get_caffe.sh PREFIX
#
# Real Caffe 1.0 (CPU) with pycaffe in a private folder, without root: Debian 11's packages
# `caffe` and `python3-caffe` with everything they depend on, the C library included, unpacked
# into PREFIX and run through their own loader. Afterwards
#
#   PREFIX/wrap/caffe                  is the `caffe` command
#   PREFIX/wrap/python3-caffe          is a Python 3.9 that can `import caffe`
#   PREFIX/usr/share/doc/caffe-doc     has the prototxts of Caffe's own examples and models
#
# and PREFIX may be moved. One that lacks the prototxts gets them. apt verifies every package by Debian's signature. The mirror is the
# one this machine's apt uses for Debian; DEBIAN_MIRROR=URL names another.
set -euo pipefail
umask 022

die() {
    echo "get_caffe: $*" >&2
    exit 1
}

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
documents=usr/share/doc/caffe-doc

check_machine() {
    local need="needs an x86-64 Linux with apt-get, dpkg and debian-archive-keyring" lacks=()
    [ "$(uname -s)/$(uname -m)" = Linux/x86_64 ] || lacks+=("x86-64 Linux")
    local program
    for program in apt-get dpkg; do
        command -v "$program" >/dev/null || lacks+=("$program")
    done
    [ -r "$keyring" ] || lacks+=("$keyring")
    local IFS=,
    [ ${#lacks[@]} -eq 0 ] || die "$need; missing here: ${lacks[*]}"
}

# The mirror of the Debian archive in apt's own configuration: the first address of a source
# that carries a Debian release, security archives aside; both file formats are read.
debian_mirror() {
    local etc=${APT_ETC:-/etc/apt} file
    local releases='^(stable|oldstable|oldoldstable|testing|unstable|sid|bullseye|bookworm|trixie|forky)$'
    for file in "$etc"/sources.list.d/*.sources; do
        [ -r "$file" ] || continue
        # deb822: paragraphs of fields; comment lines may stand between them
        awk -v releases="$releases" '
            function flush(  i) {
                if (types ~ /deb/ && uris && enabled && suites)
                    for (i = 1; i <= split(suites, suite, " "); i++)
                        if (suite[i] ~ releases) { print uris; exit_now = 1; exit }
                types = uris = suites = field = ""; enabled = 1
            }
            BEGIN { enabled = 1 }
            /^#/ { next }
            /^[[:space:]]*$/ { flush(); next }
            /^[[:space:]]/ { if (field == "suites") suites = suites " " $0; next }
            {
                field = tolower($1); sub(/:.*/, "", field)
                value = $0; sub(/^[^:]*:[[:space:]]*/, "", value)
                if (field == "types") types = value
                else if (field == "uris") { split(value, uri, " "); uris = uri[1] }
                else if (field == "suites") suites = value
                else if (field == "enabled") enabled = (tolower(value) !~ /^(no|false)/)
            }
            END { if (!exit_now) flush() }
        ' "$file"
    done
    for file in "$etc"/sources.list "$etc"/sources.list.d/*.list; do
        [ -r "$file" ] || continue
        # one line each: deb [options] address release components
        sed -E 's/\[[^]]*\]//' "$file" |
            awk -v releases="$releases" '$1 == "deb" && $3 ~ releases { print $2 }'
    done
}

# Runs apt-get on lists, cache and package status of its own. That status is empty, so that
# nothing counts as installed and the whole closure is fetched.
private_apt() {
    apt-get -qq \
        -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences="$apt/preferences" -o Dir::Etc::preferencesparts=/dev/null \
        -o Dir::State="$apt" -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" \
        -o Dir::Cache="$apt/cache" -o Dir::Log="$apt/log" \
        -o APT::Architecture=amd64 -o APT::Architectures::=amd64 \
        -o APT::Install-Recommends=false -o APT::Sandbox::User="$(id -un)" \
        -o Acquire::Languages=none -o Acquire::Retries=2 \
        -o Debug::NoLocking=true -o Dpkg::Use-Pty=0 "$@"
}

read_lists() {
    local mirror=$1
    mkdir -p "$apt"/lists/partial "$apt"/cache/archives/partial "$apt"/log "$apt"/newer "$apt"/doc
    : >"$apt/status"
    local release
    for release in bullseye bookworm; do
        echo "deb [arch=amd64 signed-by=$keyring] $mirror $release main"
    done >"$apt/sources.list"
    printf 'Package: *\nPin: release n=bullseye\nPin-Priority: 990\n' >"$apt/preferences"
    private_apt -o APT::Update::Error-Mode=any update || die "cannot read Debian 11's package lists from $mirror"
}

fetch_packages() {
    local mirror=$1
    # OpenBLAS by name, or the closure takes the slow reference BLAS.
    private_apt install --yes --download-only caffe python3-caffe libopenblas0-pthread ||
        die "cannot fetch Debian 11's caffe from $mirror"
    # Debian 12's OpenBLAS is much faster on two threads; it wants that release's C library.
    (
        cd "$apt/newer"
        private_apt download {libopenblas0-pthread,libc6,libgfortran5,libquadmath0,libgcc-s1}/bookworm
    ) || die "cannot fetch Debian 12's OpenBLAS from $mirror"
}

# The prototxts of Debian 11's caffe-doc, as plain text, into the folder $2. The package depends
# on libraries for its web pages, so it is fetched by name and without them.
fetch_documents() {
    local mirror=$1 target=$2
    (cd "$apt/doc" && private_apt download caffe-doc/bullseye) ||
        die "cannot fetch Debian 11's caffe-doc from $mirror"
    dpkg --extract "$apt"/doc/caffe-doc*.deb "$apt/doc" || die "cannot unpack caffe-doc"
    mkdir -p "$target"
    (
        cd "$apt/doc/$documents" &&
            find . -type f -name '*.prototxt.gz' -exec gzip --decompress {} + &&
            find . -type f -name '*.prototxt' -exec cp --parents -t "$target" {} +
    ) || die "cannot unpack the prototxts of caffe-doc"
}

# A program that starts $2 (below PREFIX) with the libraries beside it, whatever the system has.
write_wrapper() {
    local wrapper=$1 program=$2 environment=$3
    cat >"$wrapper" <<WRAPPER
#!/bin/sh
prefix=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")
system=\$prefix/lib/x86_64-linux-gnu
libraries=\$prefix/usr/lib/x86_64-linux-gnu
$environment
exec "\$system/ld-linux-x86-64.so.2" \\
    --library-path "\$libraries/openblas-pthread:\$system:\$libraries:\$prefix/usr/lib" \\
    "\$prefix/$program" "\$@"
WRAPPER
    chmod 755 "$wrapper"
}

# A folder to work in beside PREFIX, removed at the end; sets `partial` and `apt`.
work_beside() {
    local prefix=$1 old
    mkdir -p "$(dirname "$prefix")" || die "cannot write beside $prefix"
    for old in "$prefix".partial.*; do # what a killed run left
        [ ! -d "$old" ] || [ -d "/proc/${old##*.}" ] || rm -rf "$old"
    done
    partial=$prefix.partial.$$
    mkdir "$partial" || die "cannot write beside $prefix"
    trap 'rm -rf "$partial"' EXIT
    apt=$(cd "$partial" && pwd)/.apt
}

find_mirror() {
    check_machine
    mirror=${DEBIAN_MIRROR:-$(debian_mirror | head -n 1)}
    [ -n "$mirror" ] || die "apt's configuration names no Debian mirror; set DEBIAN_MIRROR=URL"
}

# Completes a prefix that an earlier version of this script made.
add_documents() {
    local prefix=$1 mirror
    find_mirror
    work_beside "$prefix"
    echo "get_caffe: fetching Debian 11's caffe-doc from $mirror"
    read_lists "$mirror"
    fetch_documents "$mirror" "$apt/prototxts"
    mkdir -p "$prefix/$(dirname "$documents")" &&
        mv -T "$apt/prototxts" "$prefix/$documents" || die "cannot write into $prefix"
}

main() {
    if [ $# -ne 1 ] || [ -z "$1" ] || [ "${1#-}" != "$1" ]; then
        die "usage: get_caffe.sh PREFIX"
    fi
    local prefix=${1%/} mirror version package quiet
    if version=$("$prefix/wrap/caffe" --version 2>/dev/null); then
        if [ -d "$prefix/$documents" ]; then
            echo "get_caffe: $prefix has it already ($version)"
        elif ! (add_documents "$prefix"); then # Caffe itself is there: no reason to fail
            echo "get_caffe: $prefix has it already ($version), but not Caffe's example nets"
        fi
        return
    fi
    [ ! -e "$prefix" ] || die "$prefix exists but is no working Caffe; remove it or name another"
    find_mirror
    work_beside "$prefix"
    echo "get_caffe: fetching Debian 11's caffe from $mirror"
    read_lists "$mirror"
    fetch_packages "$mirror"
    fetch_documents "$mirror" "$(dirname "$apt")/$documents"

    for package in "$apt"/cache/archives/*.deb "$apt"/newer/*.deb; do
        dpkg --extract "$package" "$partial" || die "cannot unpack ${package##*/}"
    done
    rm -rf "$apt"

    # glog writes a file into the temporary folder on every run unless it is told otherwise.
    # shellcheck disable=SC2016 # the wrapper expands it, not this script
    quiet=': "${GLOG_logtostderr:=1}"
export GLOG_logtostderr'
    mkdir "$partial/wrap"
    write_wrapper "$partial/wrap/caffe" usr/bin/caffe "$quiet"
    # shellcheck disable=SC2016
    write_wrapper "$partial/wrap/python3-caffe" usr/bin/python3.9 \
        'export PYTHONHOME="$prefix/usr" PYTHONPATH="$prefix/usr/lib/python3/dist-packages"'
    "$partial/wrap/caffe" --version >/dev/null || die "the unpacked caffe does not run"
    mv -T "$partial" "$prefix"
    echo "get_caffe: $prefix: $("$prefix/wrap/caffe" --version)"
}

main "$@"
