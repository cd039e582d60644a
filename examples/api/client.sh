#!/bin/sh
# A client with tokens, in plain shell: it signs up, logs in, is checked, refreshes, and is logged out everywhere.
# It needs a POSIX shell and curl. Usage: client.sh [URL of the server]
#
# Tokens never stand on a command line, where every user of the machine could read them: they go through standard input.
set -eu
umask 077

url=${1:-http://127.0.0.1:8080}
email=${EMAIL:-api-example-$$-$(date +%s)@example.com}
password=${PASSWORD:-correct horse battery}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
	echo "client.sh: $1" >&2
	exit 1
}

# field NAME: the text of one member of the last answer. Enough for members whose text has no quotes in it, like tokens
# and codes; it is no reader of JSON.
field() {
	sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p' "$dir/answer"
}

# call METHOD PATH [curl's options]: leaves the body in $dir/answer and the status in $status.
call() {
	method=$1 path=$2
	shift 2
	status=$(curl --silent --show-error --max-time 20 --output "$dir/answer" --write-out '%{http_code}' \
		--request "$method" "$@" "$url$path") || fail "$method $path got no answer"
}

# expect STATUS: stops if the last answer was another one.
expect() {
	[ "$status" = "$1" ] || fail "$method $path answered $status, not $1: $(cat "$dir/answer")"
}

# post PATH JSON [curl's options]
post() {
	path=$1 json=$2
	shift 2
	printf '%s' "$json" >"$dir/request"
	call POST "$path" --header 'Content-Type: application/json' --data-binary "@$dir/request" "$@"
	rm -f "$dir/request"
}

# authorized METHOD PATH: a call with the access token.
authorized() {
	printf 'Authorization: Bearer %s' "$access" >"$dir/header"
	call "$1" "$2" --header "@$dir/header"
	rm -f "$dir/header"
}

# refresh TOKEN KEY: a retry with the same token and key gets the same successor, as long as that was not used.
refresh() {
	post /v1/refresh '{"refresh_token":"'"$1"'"}' --header "Idempotency-Key: $2"
}

credentials='{"email":"'"$email"'","password":"'"$password"'","mode":"hybrid"}'

post /v1/signup "$credentials"
expect 201
echo "signed up"

post /v1/login "$credentials"
expect 200
access=$(field access_token)
first=$(field refresh_token)
echo "logged in: mode $(field mode)"

authorized GET /v1/check
expect 200
echo "checked: $status"

# A real client keeps the key in a file before it sends the request: then it can ask again after a crash.
key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
refresh "$first" "$key"
expect 200
second=$(field refresh_token)
[ "$second" != "$first" ] || fail "the refresh token did not change"
echo "refreshed: another refresh token"

refresh "$first" "$key"
expect 200
[ "$(field refresh_token)" = "$second" ] || fail "the same refresh token got another answer"
access=$(field access_token)
echo "refreshed with the first token again: the same answer"

authorized GET /v1/check
expect 200
echo "checked: $status"

authorized DELETE '/v1/sessions?wait=fleet'
expect 200
echo "logged out everywhere"

authorized GET /v1/check
expect 401
echo "checked: $status $(field code)"

refresh "$second" "$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
expect 401
echo "refreshed: $status $(field code)"
