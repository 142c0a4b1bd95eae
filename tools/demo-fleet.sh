#!/usr/bin/env bash
# A fleet on one machine, until Ctrl-C: a Kafka, three sensors that play captures in a loop, each with another detector, and one console.
#
#	tools/demo-fleet.sh      needs ./netlyra, Java and Maven; with engine/.venv the Python engine and its sensor take part
#	LISTEN=127.0.0.1:8190    the console's page
#
#	hall   detects for itself
#	yard   publishes its slots: netlyra detect judges them
#	lab    publishes its packets: the Python engine judges them
#
# All that is written lies in a temporary folder, which goes at the end; so does every program that was started, by its number and in order.
set -euo pipefail
cd "$(dirname "$0")/.."
listen=${LISTEN:-127.0.0.1:8190}
[ -x ./netlyra ] || { echo "demo-fleet.sh: no ./netlyra: ./task build" >&2; exit 1; }
work=$(mktemp -d)
started='' # the programs' numbers, the last one first

finish() {
	trap '' INT TERM HUP
	for pid in $started; do
		kill -TERM "$pid" 2>/dev/null || continue # it has ended before
		tries=0
		while kill -0 "$pid" 2>/dev/null; do
			tries=$((tries + 1))
			[ "$tries" -lt 75 ] || kill -KILL "$pid" 2>/dev/null || true
			sleep 0.2
		done
	done
	tools/kafka.sh stop "$work/kafka" || true
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# start NAME COMMAND… runs it in the background, out of reach of the terminal's Ctrl-C: finish ends it in its turn.
start() {
	name=$1
	shift
	set -m # which gives it a process group of its own
	"$@" >"$work/$name.log" 2>&1 </dev/null &
	set +m
	started="$! $started"
}

free_ports() { # two that follow each other
	python3 - <<'PYTHON'
import socket
for port in range(19092, 20092, 2):
    try:
        for p in (port, port + 1):
            with socket.socket() as s:
                s.bind(("127.0.0.1", p))
    except OSError:
        continue
    print(port)
    break
PYTHON
}

# ask PATH prints what the console's API says.
ask() {
	python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())' "http://$listen/api/v1/$1" 2>/dev/null
}

fail() {
	echo "demo-fleet.sh: $1" >&2
	for log in "$work"/*.log; do
		echo "== $(basename "$log")" >&2
		tail -n 5 "$log" >&2
	done
	exit 1
}

echo 'Making two offices with attacks in them …'
./netlyra bench office --hours 0.1 --learn 1m --seed 7 --families scan_top100,dns_tunnel_txt,brute_ssh --output "$work/yard.pcap" >/dev/null
./netlyra bench office --office-hosts 120 --hours 0.1 --learn 3m --seed 11 --families scan_vertical_tcp,scan_icmp_sweep --output "$work/lab.pcap" >/dev/null
echo 'Starting Kafka …'
brokers=$(KAFKA_PORT=$(free_ports) tools/kafka.sh start "$work/kafka")

# The console first: it makes the topics. Its detectors next, then what they read.
start console ./netlyra serve --brokers "$brokers" --console demo --listen "$listen" --ws-listen off --database "$work/console.db"
start detect ./netlyra detect --brokers "$brokers" --group demo-detect
detector=${started%% *}
sensor() {
	name=$1 file=$2
	shift 2
	start "$name" ./netlyra run --sensor "$name" --read "$file" --loop --brokers "$brokers" --listen 127.0.0.1:0 --ws-listen off --database temporary "$@"
}
sensor hall demo/sample.pcap.zst
sensor yard "$work/yard.pcap" --publish slots --detector external
expected=2
if [ -x engine/.venv/bin/netlyra-engine ]; then
	# A budget of an alert in nine seconds: something is seen within some minutes.
	start engine engine/.venv/bin/netlyra-engine --brokers "$brokers" --input packets --alert-budget 10000
	sensor lab "$work/lab.pcap" --publish packets --detector external
	expected=3
else
	echo 'Without the Python engine and its sensor: ./task engine:setup makes engine/.venv.'
fi

tries=0
until [ "$(ask sensors | grep -o '"name":' | wc -l)" -ge "$expected" ]; do
	for pid in $started; do
		kill -0 "$pid" 2>/dev/null || fail 'one of the programs has ended'
	done
	tries=$((tries + 1))
	[ "$tries" -lt 120 ] || fail 'the console does not know its sensors'
	sleep 0.5
done
cat <<TEXT

  page        http://$listen/
  sensors     curl http://$listen/api/v1/sensors
  alerts      curl "http://$listen/api/v1/alerts?sensor=yard"
  health      curl http://$listen/api/v1/health
  broker      $brokers
  logs        $work/*.log

  hall detects for itself; its scan and its flood come within a minute. What yard sees is judged by netlyra detect; its
  attacks come after one minute, two and four. What lab sees is judged by the Python engine, which reports what is rare, and
  has learned enough for that after some three minutes. To kill the detector and start another, which goes on where it was:

      kill -9 $detector; ./netlyra detect --brokers $brokers --group demo-detect

  Ctrl-C ends all of it, but for what you have started yourself.
TEXT
ended=' '
while :; do
	for pid in $started; do
		case $ended in *" $pid "*) continue ;; esac
		kill -0 "$pid" 2>/dev/null && continue
		echo "demo-fleet.sh: program $pid has ended: $work/*.log say more" >&2
		ended="$ended$pid "
	done
	sleep 5 &
	wait $! || true
done
