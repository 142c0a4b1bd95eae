"""How many packets a second of processor time the engine judges, over JSON and over slots.

usage: engine/bench.py [CAPTURE]

Without a capture it makes one of 1 GB with `./netlyra bench synth --size 1GB --seed 42` (IMIX, 1 Gbit/s). What
`netlyra analyze --emit` writes is kept in a file first, so that reading the capture does not count. The time of the
start, that of an empty stream, is taken off. A figure is the best of three.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMAND = Path(sys.executable).with_name("netlyra-engine")


def seconds(stream: Path) -> tuple[float, int]:
    """Processor time that the engine takes for a stream, and the packets in it."""
    best, packets = float("inf"), 0
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([COMMAND, "--final", stream], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        packets = json.loads(done.stderr.splitlines()[-1])["packets"]
    return best, packets


def main() -> None:
    """Measures both kinds."""
    with tempfile.TemporaryDirectory(prefix="netlyra-bench-") as work:
        capture = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(work) / "imix.pcap"
        if len(sys.argv) < 2:
            make = [ROOT / "netlyra", "bench", "synth", "--size", "1GB", "--seed", "42", "--output", capture]
            subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        stream = Path(work) / "stream"
        stream.write_bytes(b"")
        start, _ = seconds(stream)
        for kind in ("packets", "slots"):
            with stream.open("wb") as out:
                emit = [ROOT / "netlyra", "analyze", "--quiet", "--sensor", "bench", "--emit", kind, capture]
                subprocess.run(emit, check=True, stdout=out)
            took, packets = seconds(stream)
            figures = {"kind": kind, "packets": packets, "cpu_seconds": round(took - start, 2)}
            print(json.dumps(figures | {"packets_per_cpu_second": round(packets / (took - start))}), flush=True)


if __name__ == "__main__":
    main()
