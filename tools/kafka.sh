#!/bin/sh
# Starts and stops a Kafka of one node (KRaft) on loopback, for tests and development. It needs Java 17 or newer and Maven (tools/debian.sh).
#
#   tools/kafka.sh fetch            fetch Kafka and what it needs into data/kafka/libs, once; print that folder
#   tools/kafka.sh start [FOLDER]   format FOLDER (data/kafka/node) where it is new, start, wait until it answers; print its address
#   tools/kafka.sh stop [FOLDER]    end it in order; its data stay
#   tools/kafka.sh status [FOLDER]  print its address; status 1 where it does not run
#
# KAFKA_PORT is the port of clients (9092), the one above it the controller's. Those that FOLDER was formatted with stay.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
libs=$root/data/kafka/libs
node=${2:-$root/data/kafka/node}
port=${KAFKA_PORT:-9092}
case $node in *,*) echo "kafka.sh: the folder $node has a comma, which Kafka takes for the end of a name: take another" >&2; exit 1 ;; esac

need() {
	command -v "$1" >/dev/null || { echo "kafka.sh: no $1: apt-get install $2" >&2; exit 1; }
}

fetch() {
	[ ! -e "$libs/.complete" ] || [ "$root/tools/kafka/pom.xml" -nt "$libs/.complete" ] || return 0
	need mvn 'maven'
	mkdir -p "$libs"
	mvn -q -B -f "$root/tools/kafka/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$libs" >&2
	touch "$libs/.complete"
}

running() {
	[ -s "$node/pid" ] && kill -0 "$(cat "$node/pid")" 2>/dev/null
}

address() {
	sed -n 's|^advertised.listeners=PLAINTEXT://||p' "$node/server.properties"
}

start() {
	need java 'openjdk-17-jre-headless'
	fetch
	if running; then
		address
		return
	fi
	mkdir -p "$node"
	if [ ! -e "$node/server.properties" ]; then
		cat >"$node/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$node/log
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
PROPERTIES
		id=$(java -cp "$libs/*" kafka.tools.StorageTool random-uuid 2>/dev/null)
		java -cp "$libs/*" kafka.tools.StorageTool format -t "$id" -c "$node/server.properties" >"$node/format.log" 2>&1 || {
			rm "$node/server.properties"
			cat "$node/format.log" >&2
			exit 1
		}
	fi
	nohup java -Xmx512m "-Dlog4j2.configurationFile=$root/tools/kafka/log4j2.properties" -cp "$libs/*" kafka.Kafka "$node/server.properties" >"$node/server.log" 2>&1 </dev/null &
	echo $! >"$node/pid"
	tries=0
	until grep -q 'Kafka Server started' "$node/server.log"; do
		if ! running || [ "$tries" -ge 240 ]; then
			tail -n 20 "$node/server.log" >&2
			echo "kafka.sh: Kafka does not start: $node/server.log says why" >&2
			exit 1
		fi
		tries=$((tries + 1))
		sleep 0.25
	done
	address
}

stop() {
	running || return 0
	kill "$(cat "$node/pid")"
	tries=0
	while running; do
		[ "$tries" -lt 120 ] || kill -9 "$(cat "$node/pid")"
		tries=$((tries + 1))
		sleep 0.25
	done
	rm "$node/pid"
}

case ${1:-} in
fetch)
	fetch
	echo "$libs"
	;;
start) start ;;
stop) stop ;;
status)
	running || { echo "kafka.sh: no Kafka runs in $node" >&2; exit 1; }
	address
	;;
*)
	sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
	exit 2
	;;
esac
