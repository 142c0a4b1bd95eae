#!/bin/sh
# Installs the Debian packages that the tests use as oracles, peers and senders. With --check it only says whether they are there.
# Without root, or where there is no apt-get, it does nothing: the tests that need them say so.
set -eu
packages='tshark tcpdump iproute2 iputils-ping ethtool nmap iperf3 curl hping3 nginx-light tcpreplay chromium softflowd argus-server nfdump gcc libc6-dev zsh fish openjdk-17-jre-headless maven'

missing=
for package in $packages; do
	dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
[ "${1:-}" != --check ] || exit 1
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "not installed:$missing; the tests that need them are skipped (apt-get install$missing)" >&2
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list
apt-get install -y -qq --no-install-recommends $missing >/dev/null
