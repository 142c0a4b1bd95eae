#!/bin/sh
# Holds the running program to internal/api/openapi.yaml: without a token, then with one and TLS. Needs ./netlyra and openssl.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
pid=
finish() {
	if [ -n "$pid" ]; then
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
		pid=
	fi
}
trap 'finish; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# conform NAME SCHEME HEADER [FLAG...] starts the program with the flags and asks it.
conform() {
	name=$1 scheme=$2 header=$3
	shift 3
	port=$(free_port)
	./netlyra run --read demo/sample.pcap.zst --loop --listen "127.0.0.1:$port" --ws-listen off \
		--database "$work/$name/netlyra.db" --state off "$@" >"$work/$name.log" 2>&1 &
	pid=$!
	echo "conformance: $name"
	failed=0
	SSL_CERT_FILE="$work/cert.pem" REQUESTS_CA_BUNDLE="$work/cert.pem" \
		tools/.venv/bin/schemathesis --config-file tools/schemathesis.toml run "$scheme://127.0.0.1:$port/openapi.yaml" \
		--wait-for-schema 20 --tls-verify "$work/cert.pem" -H "$header" || failed=1
	finish
	if [ "$failed" = 1 ]; then
		tail -n 20 "$work/$name.log"
		exit 1
	fi
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 \
	-keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
token=$(openssl rand -hex 24)

conform open http "X-Conformance: open"
NETLYRA_TOKEN=$token conform token https "Authorization: Bearer $token" --tls-cert "$work/cert.pem" --tls-key "$work/key.pem"
