#!/bin/sh
# Runs every fuzz target for the time given, one after the other.
set -eu
time=${1:-30s}
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "$package $target"
		go test "$package" -run='^$' -fuzz="^$target\$" -fuzztime="$time" -fuzzminimizetime=100x
	done
done
