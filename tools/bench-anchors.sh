#!/usr/bin/env bash
# Reads one synthetic capture with NetLyra and with three flow probes, in turn, several rounds, and prints medians and ratios. The rounds
# are interleaved so that whatever else the machine does meets all alike: read the ratios, not the seconds.
#
#	tools/bench-anchors.sh [FILE]      without FILE: 1 GB of IMIX, seed 42, made anew in a temporary directory
#	ROUNDS=5                           how often
#
# What is compared: the full analysis of `netlyra analyze` (connections, entropy, detector; no output but alerts), softflowd with room for
# all connections and IPv6 tracked (-6), exporting to nobody (no -n); argus writing to /dev/null; nfpcapd writing its files
# to a temporary directory, since it cannot do without; and `bench replay --stages naive`, the same work as one writes it first.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${ROUNDS:-5}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
netlyra=$PWD/netlyra
[ -x "$netlyra" ] || { echo "build first: ./task build" >&2; exit 1; }

file=${1:-}
if [ -z "$file" ]; then
	file=$work/imix.pcap
	"$netlyra" bench synth --size 1GB --seed 42 --output "$file" | sed 's/^/# /'
fi
cat "$file" >/dev/null # into the page cache

netlyra_analyze() { "$netlyra" analyze --workers 1 --quiet --format jsonl "$file"; }
netlyra_naive() { "$netlyra" bench replay --stages naive "$file"; }
softflowd_m1M() { softflowd -d -6 -m 1000000 -p "$work/pid" -c "$work/ctl" -r "$file"; }
argus_null() { argus -X -r "$file" -w /dev/null; }
nfpcapd_files() { rm -rf "$work/nf" && mkdir "$work/nf" && nfpcapd -r "$file" -w "$work/nf"; }

tools=(netlyra_analyze)
for tool in softflowd_m1M:softflowd:softflowd argus_null:argus:argus-server nfpcapd_files:nfpcapd:nfdump; do
	IFS=: read -r name program package <<<"$tool"
	if command -v "$program" >/dev/null || PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null; then
		tools+=("$name")
	else
		echo "$program is not here and left out: apt-get install $package" >&2
	fi
done
PATH=$PATH:/usr/sbin:/sbin
tools+=(netlyra_naive)

TIMEFORMAT='%R %U %S'
for ((round = 1; round <= rounds; round++)); do
	for tool in "${tools[@]}"; do
		if ! { time "$tool" >"$work/out" 2>"$work/err"; } 2>"$work/time"; then
			echo "$tool failed:" >&2
			cat "$work/err" >&2
			exit 1
		fi
		awk -v tool="$tool" '{ print tool, $1, $2 + $3 }' "$work/time" >>"$work/times"
	done
done

median() { # tool column
	awk -v tool="$1" -v column="$2" '$1 == tool { print $column }' "$work/times" | sort -n | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'
}
printf '%-16s %8s %8s %14s %14s\n' "median of $rounds" 'wall s' 'CPU s' 'wall/netlyra' 'CPU/netlyra'
wall=$(median netlyra_analyze 2) cpu=$(median netlyra_analyze 3)
for tool in "${tools[@]}"; do
	awk -v tool="$tool" -v w="$(median "$tool" 2)" -v c="$(median "$tool" 3)" -v w0="$wall" -v c0="$cpu" \
		'BEGIN { printf "%-16s %8.2f %8.2f %14.2f %14.2f\n", tool, w, c, w / w0, c / c0 }'
done
