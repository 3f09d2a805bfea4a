#!/usr/bin/env bash
# Builds the image of Dockerfile around a static program and runs it as an engine would, under seccomp.json:
# scripts/test-container.sh [PROGRAM]. The stage that compiles is left out: its base would have to be fetched.
# Needs root, buildah and runc; no daemon and no network.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
tool=(buildah --storage-driver vfs --root "$folder/storage" --runroot "$folder/run")
running=

clean_up() {
    if [ -n "$running" ]; then
        kill "$(server)" || kill "$running" || true
        wait "$running" || true
    fi
    "${tool[@]}" rm --all >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap clean_up EXIT

skip() {
    echo "skipped: $1"
    exit 0
}

# The server, which is a child of the engine's child.
server() {
    pgrep -x kvcache -P "$(pgrep -P "$running")" 2>/dev/null
}

inside() {
    nsenter -t "$process" -n "$@"
}

# says FIELD: what the image has there; a list in one line.
says() {
    "${tool[@]}" inspect --type image --format "{{range $1}}{{.}} {{end}}" image | sed 's/ $//'
}

# expect WHAT FOUND WANTED
expect() {
    if [ "$2" != "$3" ]; then
        echo "MISSED: $1 is $2, not $3"
        [ ! -s "$folder/log" ] || cat "$folder/log"
        exit 1
    fi
    echo "ok: $1 is $2"
}

[ "$(id -u)" = 0 ] || skip "only root runs containers here"
command -v buildah >/dev/null || skip "there is no buildah"
command -v runc >/dev/null || skip "there is no runc"
program=${1:-$(scripts/build-static.sh)}

# The last stage, with the program from the directory in place of the stage before it.
mkdir "$folder/context"
cp "$program" "$folder/context/kvcache"
sed -n '/^FROM scratch/,$ s/--from=build \/kvcache/kvcache/p; /^FROM scratch/,$ { /--from/! p }' Dockerfile \
    >"$folder/context/Dockerfile"
"${tool[@]}" bud --quiet --isolation chroot --format docker --tag image "$folder/context" >/dev/null
expect "the user" "$("${tool[@]}" inspect --type image --format '{{.OCIv1.Config.User}}' image)" 65532:65532
expect "the port" "$("${tool[@]}" inspect --type image --format '{{.OCIv1.Config.ExposedPorts}}' image)" 'map[7171/tcp:{}]'
expect "the command" "$(says .OCIv1.Config.Entrypoint) $(says .OCIv1.Config.Cmd)" "/kvcache serve"
expect "the health check" "$(says .Docker.ContainerConfig.Healthcheck.Test)" "CMD /kvcache health"
expect "what is in it" "$(ls -A "$("${tool[@]}" mount "$("${tool[@]}" from image)")" | xargs)" "kvcache"

memlock=67108864
prlimit --memlock=$memlock:$memlock true 2>/dev/null || memlock=$(($(ulimit -Hl) * 1024))
limits=(--ulimit "memlock=$memlock" --ulimit "nofile=$(ulimit -Hn)")
run=(run --isolation oci --runtime "$(command -v runc)" --network none --env KVCACHE_MEMORY=64MiB)
read -ra command <<<"$(says .OCIv1.Config.Entrypoint) $(says .OCIv1.Config.Cmd)"

"${tool[@]}" from --name default "${limits[@]}" image >/dev/null
code=0
timeout 60 "${tool[@]}" "${run[@]}" default -- "${command[@]}" >"$folder/log" 2>&1 || code=$?
expect "the exit code without our profile" $code 78
echo "ok: it says $(grep '^kvcache: ' "$folder/log")"

"${tool[@]}" from --name server --security-opt "seccomp=$PWD/seccomp.json" "${limits[@]}" image >/dev/null
"${tool[@]}" "${run[@]}" server -- "${command[@]}" >"$folder/log" 2>&1 &
running=$!
# Nothing listens outside of the container: what asks is put into its network.
end=$((SECONDS + 60))
until process=$(server) && inside curl -sf -o /dev/null http://127.0.0.1:7171/healthz; do
    [ "$SECONDS" -lt "$end" ] || expect "the server after 60 s" "not there" "there"
    sleep 0.1
done
expect "its user" "$(ps -o uid=,gid= -p "$process" | xargs)" "65532 65532"
expect "its filter of system calls" "$(awk '$1 == "Seccomp:" { print $2 }' "/proc/$process/status")" 2
expect "a put" "$(inside curl -s -o /dev/null -w '%{http_code}' -X PUT -d hello http://127.0.0.1:7171/kv/key)" 201
expect "a get" "$(inside curl -s http://127.0.0.1:7171/kv/key)" hello
code=0
nsenter -t "$process" -m -n -p -S 65532 -G 65532 /kvcache health || code=$?
expect "the exit code of the health check" $code 0
kill "$process"
code=0
wait "$running" || code=$?
running=
expect "the exit code after SIGTERM" $code 0
expect "its last line" "$(tail -n 1 "$folder/log" | cut -d' ' -f2-)" "info draining"
