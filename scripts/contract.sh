#!/usr/bin/env bash
# Asks a running server for every row of the contract, prints what it said, fails if it was wrong.
# Usage: scripts/contract.sh [url]
set -euo pipefail
url=${1:-http://127.0.0.1:7171}
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
exit "$failed"
