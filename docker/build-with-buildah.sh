#!/bin/sh
# Builds the image `wshub` where there is neither a Docker engine nor a registry of images, with two of Debian's packages:
# debootstrap makes a base image, buildah does what the Dockerfile says. It asks the mirrors that apt and pip here ask.
#
#     docker/build-with-buildah.sh           build
#     docker/build-with-buildah.sh --test    build, then run the image, talk to it and stop it
#
# The images are kept in ${XDG_CACHE_HOME:-~/.cache}/wshub-docker; remove that folder to start afresh.
set -eu

cannot() { echo "$0: $*" >&2; exit 2; }
fail() { echo "FAILED: $*" >&2; exit 1; }
quietly() { "$@" > "$tmp/log" 2>&1 || { tail -n 60 "$tmp/log" >&2; fail "$*"; }; }
now() { date +%s.%N; }
since() { awk "BEGIN { printf \"%.1f s\", $(now) - $1 }"; }

[ "$*" = "" ] || [ "$*" = --test ] || cannot "what is '$*'? There is only --test."
[ "$(id -u)" = 0 ] || cannot "this needs root, for debootstrap and chroot."
for tool in buildah debootstrap; do
    [ -x "$(command -v $tool)" ] || cannot "there is no $tool here; on Debian: apt-get install buildah debootstrap"
done

begun=$(now) test=${1-} container='' job=''
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/wshub-docker
mkdir -p "$cache"
tmp=$(mktemp -d)
# vfs and chroot want so little of the kernel that this works inside of a container too.
b() { buildah --root "$cache/store" --runroot "$cache/run" --storage-driver vfs "$@"; }
# A process and all below it; Linux lists the children by thread.
family() { echo "$1"; for child in $(cat "/proc/$1/task/"*/children 2> /dev/null); do family "$child"; done; }
cleanup() {
    # shellcheck disable=SC2046
    [ -z "$job" ] || kill -KILL $(family "$job") 2> /dev/null || true
    [ -z "$container" ] || b rm "$container" > /dev/null || true
    rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 143' INT TERM

# 1. The base image.
suite=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
base=localhost/wshub-base:$suite
if b inspect --type image "$base" > /dev/null 2>&1; then
    echo "base image $base: there is one"
else
    mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Identifier: Packages' |
        awk -v suite="$suite" '$1 == suite && $2 == "main" { print $3; exit }')
    [ -n "$mirror" ] || fail "apt's sources name no mirror that has '$suite main'"
    eval "$(apt-config shell http_proxy Acquire::http::Proxy)" && export http_proxy="${http_proxy-}"
    echo "base image $base: debootstrap makes it, in about a minute ..."
    container=$(b from scratch)
    root=$(b mount "$container")
    quietly debootstrap --variant=minbase --include=python3,python3-venv "$suite" "$root" "$mirror"
    # What python:slim lacks as well.
    (cd "$root" && rm -rf var/cache/apt/* var/lib/apt/lists/* usr/share/doc usr/share/info usr/share/locale usr/share/man)
    quietly b commit --rm "$container" "$base"
    container=''
    echo "base image $base: made in $(since "$begun")"
fi

# 2. The image. pip's settings go into the build as a secret, and the files and folders that they name are mounted where
# they are (of a folder, the empty mount point stays in the image). pip lists the environment's first, which win.
(umask 077 && : > "$tmp/pip.conf")
python3 -m pip config list 2> /dev/null |
    sed -nE "s/^[^=]*\.((extra-)?index-url|find-links|no-index|trusted-host|(client-)?cert|proxy)=.(.*).$/\1 = \4/p" |
    awk 'BEGIN { print "[global]" } !seen[$1]++' | sed 's/\\n/\n  /g' >> "$tmp/pip.conf"
set --
for path in $(sed 's/^[^=]*= //' "$tmp/pip.conf"); do
    # An index in a folder links to files beside it, so its parent is mounted.
    case $path in file:///*) path=$(dirname "${path#file://}") ;; esac
    case $path in /?*) [ ! -e "$path" ] || set -- "$@" -v "$path:$path:ro" ;; esac
done
built=$(now)
echo "image wshub: buildah builds it ..."
quietly b bud --format docker --isolation chroot --pull-never --build-arg BASE="$base" --secret id=pip.conf,src="$tmp/pip.conf" "$@" \
    -t wshub -f docker/Dockerfile .
b rmi --prune > /dev/null 2>&1 || true # what had the name until now
size() { b images --format '{{.Size}}' "$1"; }
echo "image wshub: built in $(since "$built"); $(size wshub), of which $(size "$base") are the base's"
[ -n "$test" ] || exit 0
most=$(sed -n 's/^- \*\*Size\*\*:.* at most \([0-9]*\) MB .*/\1/p' docker/README.md)
adds=$(( $(size wshub | sed 's/[. ].*//') - $(size "$base" | sed 's/[. ].*//') ))
[ "$adds" -le "$most" ] || fail "the image adds $adds MB to its base, and docker/README.md says at most $most"

# 3. The test. Its client takes websockets from the checkout's .venv, or else from a venv of its own.
python=$PWD/.venv/bin/python
"$python" -c 'import websockets' 2> /dev/null || python=$cache/client/bin/python
"$python" -c 'import websockets' 2> /dev/null ||
    { quietly python3 -m venv "$cache/client" && quietly "$python" -m pip install websockets; }
cat > "$tmp/client.py" << 'END'
import os, signal, socket, sys, time
from websockets.sync.client import connect

port, path, hub, began = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
while socket.socket().connect_ex(("127.0.0.1", port)):
    assert time.time() < began + 30, "nobody listens after 30 s"
    time.sleep(0.05)
with connect(f"ws://127.0.0.1:{port}{path}", proxy=None) as ws:
    ws.send("hello")
    assert ws.recv(timeout=10) == "hello"
    print(f"echo {time.time() - began:.1f} s after its start", end=", ", flush=True)
    os.kill(hub, signal.SIGTERM)
    stopped = time.time()
    assert list(ws) == [] # ends with a close frame of 1000 or 1001, and raises otherwise
while os.path.exists(f"/proc/{hub}"):
    assert time.time() < stopped + 10, "not gone 10 s after SIGTERM"
    time.sleep(0.01)
print(f"gone {time.time() - stopped:.1f} s after SIGTERM", end=", ", flush=True)
END
# Runs the image's check, beside the container and not in it: what it asks for is told by the environment.
cat > "$tmp/healthy.py" << 'END'
import json, subprocess, sys, time

kind, python, *arguments = json.load(open(sys.argv[1]))["Docker"]["config"]["Healthcheck"]["Test"]
assert (kind, python) == ("CMD", "python3"), (kind, python)
for attempt in range(20):
    if not subprocess.run([sys.executable, *arguments], stderr=subprocess.PIPE if attempt < 3 else None).returncode:
        sys.exit(0)
    time.sleep(0.1)
sys.exit(1)
END
try() { # try PATH [OPTION OF BUILDAH RUN ...]: start the image, be echoed at PATH, stop it
    path=$1 && shift
    container=$(b from --pull-never wshub)
    user=$(b inspect --format '{{.OCIv1.Config.User}}' "$container") && user=${user:-0:0}
    entrypoint=$(b inspect --format '{{range .OCIv1.Config.Entrypoint}}{{.}} {{end}}' "$container")
    port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    # chroot isolation makes no PID namespace, so unshare does: PID 1 is special, no signal has a default action there.
    started=$(now)
    b run --isolation chroot --user 0:0 --cap-add CAP_SYS_ADMIN "$@" "$container" -- \
        unshare --pid --fork --kill-child --mount-proc --setuid "${user%:*}" --setgid "${user#*:}" \
        $entrypoint --host 127.0.0.1 --port "$port" > "$tmp/log" 2>&1 &
    job=$! hub=''
    while [ -z "$hub" ]; do
        kill -0 "$job" 2> /dev/null || broken "it ended at once"
        sleep 0.1
        hub=$(for pid in $(family "$job"); do ! grep -qsx twistd "/proc/$pid/comm" || echo "$pid"; done)
    done
    ids=$(awk '/^Uid:/ { uid = $3 } /^NSpid:/ { pid = $NF } END { print "uid " uid ", PID " pid }' "/proc/$hub/status")
    printf 'test %s: %s, ' "$path" "$ids"
    case $ids in "uid 0,"*) broken "it is root" ;; *", PID 1") ;; *) broken "it is not PID 1" ;; esac
    b inspect "$container" > "$tmp/check"
    WSHUB_HEALTH="http://127.0.0.1:$port/_wshub/services.json" "$python" "$tmp/healthy.py" "$tmp/check" ||
        broken "its own check finds it unhealthy"
    WSHUB_HEALTH="http://127.0.0.1:$port/_wshub/nothing" "$python" "$tmp/healthy.py" "$tmp/check" 2> /dev/null &&
        broken "its own check finds everything healthy"
    "$python" "$tmp/client.py" "$port" "$path" "$hub" "$started" || broken "see above"
    wait "$job" && status=0 || status=$?
    job='' && echo "exit status $status"
    [ "$status" = 0 ] || broken "the exit status should be 0"
    b rm "$container" > /dev/null && container=''
}
broken() { echo >&2 && cat "$tmp/log" >&2 && fail "$path: $1"; }
mkdir "$tmp/services" && chmod 755 "$tmp" "$tmp/services"
printf '%s\n' 'import wshub' 'class Service(wshub.Service):' \
    '    def on_message(self, client, data):' '        client.send(data)' > "$tmp/services/hello.py"
chmod 644 "$tmp/services/hello.py"
try /hello -v "$tmp/services:/services"
try /echo # one of the packaged examples
echo "all of it took $(since "$begun")"
