#!/usr/bin/env bash
# Asks a running server for every row of the contract, prints what it said, fails if it was wrong.
# Usage: scripts/contract.sh [url [admin-url]]; the keys that it puts begin with `contract:` or are
# named below.
set -euo pipefail
url=${1:-http://127.0.0.1:7171}
admin=${2:-http://127.0.0.1:7172}
failed=0

# ask STATUS BODY CURL-ARGUMENT...: the body is a pattern of the shell.
ask() {
    local status=$1 body=$2 answer
    shift 2
    printf '$ curl'
    printf ' %s' "${@@Q}"
    answer=$(curl -sS -w '\n%{http_code}' "$@")
    printf '\n%s\n' "$answer"
    # shellcheck disable=SC2053 # the right side is a pattern
    if [[ $answer != $body$'\n'$status ]]; then
        printf 'WRONG: expected %s %s\n' "$status" "$body"
        failed=1
    fi
    echo
}

# head NAME CURL-ARGUMENT...: the value of one field of the answer's head.
head() {
    local name=$1
    shift
    curl -sS -o /dev/null -D - "$@" | tr -d '\r' | sed -n "s/^$name: //p"
}

# says NAME VALUE CURL-ARGUMENT...: the value is a pattern of the shell.
says() {
    local name=$1 expected=$2 value
    shift 2
    value=$(head "$name" "$@")
    printf '$ curl -i'
    printf ' %s' "${@@Q}"
    printf '\n%s: %s\n' "$name" "$value"
    # shellcheck disable=SC2053 # the right side is a pattern
    if [[ $value != $expected ]]; then
        printf 'WRONG: expected %s: %s\n' "$name" "$expected"
        failed=1
    fi
    echo
}

put() {
    ask "$1" "$2" -H 'Content-Type: application/json' -d "$3" "$url/put"
}

stored='{"status":"OK","message":"Key inserted/updated successfully."}'
absent='{"status":"ERROR","message":"Key not found.","code":"not_found"}'
error() { printf '{"status":"ERROR","code":"%s","message":"*"}' "$1"; }
long=$(printf 'x%.0s' {1..257})

put 200 "$stored" '{"key":"greeting","value":"hello"}'
ask 200 '{"status":"OK","key":"greeting","value":"hello"}' "$url/get?key=greeting"
put 200 "$stored" '{"key":"greeting","value":"hello again"}'
ask 200 '{"status":"OK","key":"greeting","value":"hello again"}' "$url/get?key=greeting"
put 200 "$stored" '{"key":"short-lived","value":"v","ttl":0.001}'
sleep 0.01
ask 404 "$absent" "$url/get?key=short-lived"
ask 404 "$absent" "$url/get?key=nobody"
put 200 "$stored" '{"key":"a b+c","value":"\ud83d\ude00 \"\\\n"}'
ask 200 '{"status":"OK","key":"a b+c","value":*}' "$url/get?key=a+b%2Bc"
put 200 "$stored" '{"key":"empty","value":"","other":[1]}'
ask 200 '{"status":"OK","key":"empty","value":""}' "$url/get?key=empty"

put 400 "$(error key_too_long)" "{\"key\":\"$long\",\"value\":\"v\"}"
put 400 "$(error value_too_long)" "{\"key\":\"k\",\"value\":\"$long\"}"
put 400 "$(error '*')" '{"key":"","value":"v"}'
put 400 "$(error '*')" '{"value":"v"}'
put 400 "$(error '*')" '{"key":"k"}'
put 400 "$(error '*')" '{"key":"k","value":1}'
put 400 "$(error '*')" '{"key":"k","key":"k","value":"v"}'
put 400 "$(error bad_json)" '{"key":"k","value":"\ud800"}'
put 400 "$(error bad_json)" '{"key":'
put 400 "$(error bad_ttl)" '{"key":"k","value":"v","ttl":0}'
ask 415 "$(error '*')" -H 'Content-Type: text/plain' -d '{"key":"k","value":"v"}' "$url/put"
ask 400 "$(error missing_key)" "$url/get"
ask 400 "$(error '*')" "$url/get?key="
ask 400 "$(error '*')" "$url/get?key=a&key=b"
ask 400 "$(error '*')" "$url/get?key=%zz"
ask 405 "$(error '*')" -X DELETE "$url/get"
ask 404 "$(error '*')" "$url/nowhere"
ask 200 '*' "$url/healthz"

# Raw bytes.
entry=$url/kv/contract%3Apage
curl -sS -X DELETE "$entry" "$url/kv/contract%3Alease" >/dev/null
ask 404 "$absent" "$entry"
ask 201 '' -X PUT -H 'If-None-Match: *' -H 'Content-Type: text/html' -d '<p>one</p>' "$entry"
ask 412 "$(error precondition_failed)" -X PUT -H 'If-None-Match: *' -d 'two' "$entry"
ask 200 '<p>one</p>' "$entry"
says Content-Type 'text/html' "$entry"
says Cache-Control 'no-cache' "$entry"
tag=$(head ETag "$entry")
says ETag "$tag" -I "$entry"
ask 304 '' -H "If-None-Match: $tag" "$entry"
ask 204 '' -X PUT -H "If-Match: $tag" -d 'two' "$entry?ttl=60"
ask 412 "$(error precondition_failed)" -X PUT -H "If-Match: $tag" -d 'three' "$entry"
ask 200 'two' -H "If-None-Match: $tag" "$entry"
says Cache-Control 'max-age=[56]?' "$entry"
ask 204 '' -X POST "$entry/touch?ttl=0"
says Cache-Control 'no-cache' "$entry"
ask 409 "$(error not_an_integer)" -X POST "$entry/incr"
ask 204 '' -X DELETE "$entry"
ask 404 "$absent" -X DELETE "$entry"
ask 404 "$absent" -X POST "$entry/touch?ttl=1"
ask 200 5 -X POST "$entry/incr?by=5"
ask 200 4 -X POST "$entry/incr?by=-1"
ask 400 "$(error bad_by)" -X POST "$entry/incr?by=x"
ask 413 "$(error value_too_long)" -X PUT -d "$long" "$entry"

# Batches.
ask 200 '{"status":"OK","stored":2}' \
    --json '{"entries":[{"key":"contract:a","value":"1"},{"key":"contract:b","value":"2"}]}' "$url/mput"
ask 400 "$(error bad_ttl)" --json '{"entries":[{"key":"contract:a","value":"3","ttl":0}]}' "$url/mput"
ask 200 '{"status":"OK","values":{"contract:a":"1","contract:b":"2","contract:c":null}}' \
    --json '{"keys":["contract:a","contract:b","contract:c"]}' "$url/mget"
ask 200 '{"status":"OK","deleted":1}' --json '{"keys":["contract:a","contract:c"]}' "$url/mdelete"

# Tags, and what begins alike.
ask 201 '' -X PUT -H 'Kv-Tags: contract:news, front' -d 'tagged' "$url/kv/contract%3Aa"
ask 200 '{"status":"OK"}' --json '{"tag":"contract:news"}' "$url/invalidate"
ask 404 "$absent" "$url/get?key=contract:a"
ask 200 '{"status":"OK","matched":2}' --json '{"prefix":"contract:","dry_run":true}' "$admin/delete-prefix"
ask 200 '{"status":"OK","deleted":2}' --json '{"prefix":"contract:"}' "$admin/delete-prefix"

# Leases.
lease=$url/kv/contract%3Alease?lease=0.3
says Kv-Lease granted "$lease"
says Kv-Lease wait "$url/get?key=contract:lease&lease=0.3"
says Retry-After 1 "$lease"
put 200 "$stored" '{"key":"contract:lease","value":"v","ttl":0.001,"stale_ttl":60}'
sleep 0.01
says Kv-Lease granted "$lease"
says Kv-Stale 1 "$lease"
says Kv-Lease wait "$lease"
exit "$failed"
