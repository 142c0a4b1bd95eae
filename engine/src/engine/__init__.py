"""The reference of NetLyra's method: packets or connection slots in, alerts out, with River's Half-Space Trees.

**Evidence is surprise plus the rarest tail, in bits. It is not River's score.** Read `features` (what an address did in
a second), `model` (how rare that is), `producer` (incidents, alerts), `consumer` (records), `main` (judge, command).
Times are capture time in microseconds since 1970, sizes bytes on the wire, entropies bits per byte.
"""

__version__ = "1"
