#!/usr/bin/env bash
# Records demo/sample.pcap.zst: a minute of an ordinary small office (web, DNS, ssh, ping, iperf3) and then a port scan and a SYN flood, by
# the real tools, between network namespaces of its own. Nothing leaves this machine. Needs root and Debian's packages
# iproute2 tcpdump nginx-light curl dnsmasq-base dnsutils openssh-server openssh-client iperf3 nmap hping3 iputils-ping zstd.
#
#	demo/record.sh [OUTPUT]
set -euo pipefail
out=${1:-$(dirname "$0")/sample.pcap.zst}
prefix=nlrec$$
work=$(mktemp -d)

cleanup() {
	for host in server alice bob mallory; do
		ip netns pids "$prefix-$host" 2>/dev/null | xargs -r kill 2>/dev/null || true
		ip netns del "$prefix-$host" 2>/dev/null || true
	done
	ip netns pids "$prefix-switch" 2>/dev/null | xargs -r kill 2>/dev/null || true
	ip netns del "$prefix-switch" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT

in_ns() { local host=$1; shift; ip netns exec "$prefix-$host" "$@"; }

# One switch with four hosts: 10.77.0.0/24.
ip netns add "$prefix-switch"
in_ns switch ip link add lan type bridge
in_ns switch ip link set lan up
add_host() {
	local host=$1 address=$2 mac=$3
	ip netns add "$prefix-$host"
	in_ns switch ip link add "$host" type veth peer name eth0 netns "$prefix-$host"
	in_ns switch ip link set "$host" master lan up
	in_ns "$host" ip link set eth0 address "$mac"
	in_ns "$host" ip address add "$address/24" dev eth0
	in_ns "$host" ip link set eth0 up
	in_ns "$host" ip link set lo up
	# Small frames as a wire has them, no merged ones.
	in_ns "$host" sh -c 'command -v ethtool >/dev/null && ethtool -K eth0 tso off gso off gro off tx off >/dev/null 2>&1 || true'
	in_ns "$host" sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1
}
add_host server 10.77.0.10 02:00:00:00:00:10
add_host alice 10.77.0.21 02:00:00:00:00:21
add_host bob 10.77.0.22 02:00:00:00:00:22
add_host mallory 10.77.0.66 02:00:00:00:00:66

# The server's services.
mkdir -p "$work/www" "$work/nginx" /run/sshd
for page in index about news prices; do
	head -c $((2000 + RANDOM)) /dev/urandom | base64 >"$work/www/$page.html"
done
head -c 300000 /dev/urandom >"$work/www/report.pdf"
cat >"$work/nginx.conf" <<CONF
pid $work/nginx/pid; error_log $work/nginx/error.log; worker_processes 1; user root;
events {}
http { access_log off; client_body_temp_path $work/nginx; proxy_temp_path $work/nginx; fastcgi_temp_path $work/nginx;
uwsgi_temp_path $work/nginx; scgi_temp_path $work/nginx; server { listen 10.77.0.10:80; root $work/www; } }
CONF
in_ns server nginx -c "$work/nginx.conf"
ip netns exec "$prefix-server" dnsmasq --no-daemon --no-resolv --no-hosts --listen-address=10.77.0.10 --bind-interfaces --pid-file= \
	--address=/office.example/10.77.0.10 >/dev/null 2>&1 &
ssh-keygen -q -t ed25519 -N '' -f "$work/host"
ssh-keygen -q -t ed25519 -N '' -f "$work/user"
cp "$work/user.pub" "$work/authorized"
chmod 700 "$work"
ip netns exec "$prefix-server" /usr/sbin/sshd -D -p 22 -h "$work/host" -o AuthorizedKeysFile="$work/authorized" -o StrictModes=no -o PidFile=none -o PermitRootLogin=yes >/dev/null 2>&1 &
ip netns exec "$prefix-server" iperf3 -s >/dev/null 2>&1 &
sleep 1

ip netns exec "$prefix-switch" tcpdump -q -U -i lan -w "$work/sample.pcap" 2>/dev/null & # a function would put a shell between
tcpdump=$!
sleep 1

# A minute of work.
names=(www mail intranet files)
pages=(index.html about.html news.html prices.html)
browse() { # host
	local end=$((SECONDS + 60)) name
	while ((SECONDS < end)); do
		name=${names[RANDOM % 4]}.office.example
		in_ns "$1" dig +short +tries=1 +time=1 @10.77.0.10 "$name" >/dev/null || true
		for _ in 1 2 3; do
			in_ns "$1" curl -s -o /dev/null --resolve "$name:80:10.77.0.10" "http://$name/${pages[RANDOM % 4]}" || true
		done
		sleep $((1 + RANDOM % 4))
	done
}
shell() {
	local end=$((SECONDS + 56))
	while ((SECONDS < end)); do
		in_ns bob ssh -i "$work/user" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR root@10.77.0.10 'uptime; ls /; sleep 2; df -h' >/dev/null || true
		sleep 7
	done
}
browse alice & jobs=($!)
browse bob & jobs+=($!)
shell & jobs+=($!)
in_ns alice ping -q -c 55 -i 1 10.77.0.10 >/dev/null & jobs+=($!)
(
	sleep 20
	in_ns alice curl -s -o /dev/null http://10.77.0.10/report.pdf
	sleep 10
	in_ns bob iperf3 -c 10.77.0.10 -t 4 -b 2M >/dev/null
) & jobs+=($!)
wait "${jobs[@]}"

# Then the attacks: a scan of the server's ports, and a flood of its web server from made-up addresses.
in_ns mallory nmap -n -Pn -sS -T4 -p 1-2000 --max-rate 600 10.77.0.10 >/dev/null
sleep 6
in_ns mallory timeout 6 hping3 -q -S -p 80 --rand-source -i u1500 10.77.0.10 >/dev/null 2>&1 || true
sleep 3

kill "$tcpdump"
wait "$tcpdump" || true
zstd -q -19 -f "$work/sample.pcap" -o "$out"
ls -l "$out"
