// Made by scripts/types.mjs from internal/api/openapi.yaml and internal/api/asyncapi.yaml; `npm run types` writes it again.

/** a problem of RFC 9457; `error` says the same with a code for programs */
export type Error = {
  readonly type: "about:blank";
  /** of the status */
  readonly title: string;
  readonly status: number;
  /** for people */
  readonly detail: string;
  /** the parameter, or the field of the body, that is wrong */
  readonly field?: string;
  /** the id of what is there already, with `exception_exists` */
  readonly existing?: string;
  readonly error: {
    /** for programs */
    readonly code: "bad_parameter" | "bad_cursor" | "bad_body" | "unauthorized" | "wrong_token" | "too_many_wrong_tokens" | "not_permitted" | "origin_not_allowed" | "not_found" | "no_such_route" | "method_not_allowed" | "body_too_large" | "host_not_allowed" | "websocket_required" | "json_required" | "encoding_not_supported" | "limit_reached" | "exception_exists" | "busy" | "store_unavailable" | "query_timeout" | "database_busy" | "not_ready" | "internal";
    /** for people */
    readonly message: string;
  };
};

export type Health = {
  readonly status: "ok" | "degraded";
  /** why it is degraded; empty while it is ok */
  readonly reasons: readonly ({
    /** for programs */
    readonly code: string;
    /** for people */
    readonly message: string;
  })[];
  /** of the program */
  readonly version: string;
  readonly uptime_seconds: number;
  /** the other port with /ws; 0: none */
  readonly websocket_port: number;
  /** what the process has given up; null where --sandbox is off */
  readonly sandbox: {
    /** whom it runs as */
    readonly user: string;
    /** that it keeps, such as net_raw */
    readonly capabilities: readonly (string)[];
    readonly no_new_privs: boolean;
    /** version of the kernel's interface; 0: files are not restricted */
    readonly landlock: number;
    /** system calls are restricted */
    readonly seccomp: boolean;
    /** parts that are not in force, and why */
    readonly missing: readonly (string)[];
  } | null;
};

/** an IPv4 or IPv6 address, or a prefix */
export type Prefix = string;

/** an IPv4 or IPv6 address, or a prefix that does not hold all */
export type SomePrefix = string;

/** a name in any letter case, or a number */
export type ProtoName = string;

export type SearchText = string;

/** capture time in RFC 3339, UTC, microseconds; null for none */
export type Micros = string | null;

export type AlertState = "open" | "closed";

export type Category = "port_scan" | "host_sweep" | "flood" | "amplification" | "brute_force" | "beacon" | "tunnel" | "exfiltration" | "arp_spoofing" | "remote_access" | "worm" | "new_device" | "new_service" | "anomaly";

export type Severity = "low" | "medium" | "high" | "critical";

/** what has been decided about an alert, by a person or by an exception */
export type Triage = "new" | "acknowledged" | "hidden";

/** for TCP as one sees RFC 9293's states from outside; other protocols are active */
export type ConnectionState = "active" | "syn_sent" | "syn_received" | "established" | "closing" | "closed" | "reset";

export type Port = number;

/** a set's most frequent members, counted since the incident was raised */
export type Top = {
  /** how many members there are */
  readonly total: number;
  readonly top: readonly ({
    readonly name: string;
    readonly count: number;
  })[] | null;
};

/** one incident in its latest revision */
export type Alert = {
  readonly ts: Micros;
  /** the culprit; where there is none, one of the sources */
  readonly src_ip: string;
  readonly dst_ip: string;
  readonly src_port: Port;
  readonly dst_port: Port;
  readonly proto: string;
  /** calibrated; 0.8 is the line */
  readonly score: number;
  /** always entropy (bits per byte), packet_rate (packets/s) and byte_rate (bytes/s) */
  readonly features: {
    readonly [name: string]: number;
  };
  /** the same capture gives the same id */
  readonly id: string;
  /** rises with each update */
  readonly rev: number;
  readonly last_ts: Micros;
  /** pieces of evidence so far: attempts, packets, connections or sessions, those of the window that raised it included */
  readonly count: number;
  readonly state: AlertState;
  readonly sensor: string;
  readonly category: Category;
  readonly severity: Severity;
  /** one English sentence */
  readonly summary: string;
  /** the named values of the sentence, for other languages */
  readonly facts: readonly ({
    readonly name: string;
    readonly text?: string;
    readonly value?: number;
    readonly unit?: string;
  })[] | null;
  /** most telling first */
  readonly reasons: readonly ({
    readonly feature: string;
    readonly value: number;
    readonly unit: string;
    /** what the value usually is */
    readonly expected: {
      readonly low: number;
      readonly high: number;
    };
    /** share of the score */
    readonly contribution: number;
    /** whose range is expected: what this host usually does, what all hosts of this network do, or a fixed limit */
    readonly basis?: "host" | "network" | "limit";
  })[] | null;
  /** what would have had to be different for no alert */
  readonly counterfactual: string;
  /** on which side the peers are; empty in alerts that an earlier version has stored */
  readonly role: "" | "targets" | "sources";
  readonly peers: Top;
  readonly ports: Top;
  /** where the incident is one connection */
  readonly community_id?: string;
  readonly detector: {
    readonly name: string;
    readonly version: string;
    /** how far it had learned */
    readonly learning: number;
    readonly parts?: {
      readonly [name: string]: number;
    };
  };
  /** share of that time's packets that were not lost */
  readonly capture_confidence: number;
  readonly triage?: Triage;
  /** the exception that hides it */
  readonly hidden_by?: string;
  readonly decided_ts?: Micros;
  /** who has decided about it */
  readonly decided_by?: string;
};

export type AlertPage = {
  readonly items: readonly (Alert)[];
  readonly next: Next;
};

/** an address or a prefix: one end of the incident, whichever; all its known addresses must be in it */
export type ExceptionHost = SomePrefix;

/** as host, for the other end */
export type ExceptionPeer = SomePrefix;

/** why it is normal, for people; one line */
export type ExceptionReason = string;

/** wall clock: when the exception ends; null: never */
export type Expires = string | null;

export type NewException = {
  readonly host?: ExceptionHost;
  readonly peer?: ExceptionPeer;
  /** source or destination port */
  readonly port?: number;
  readonly proto?: ProtoName;
  readonly category?: Category;
  readonly sensor?: string;
  readonly reason?: ExceptionReason;
  readonly expires?: Expires;
};

/** what is rarely meant; absent where there is none */
export type Warnings = readonly ({
  /** for programs */
  readonly code: "hides_category";
  /** for people */
  readonly message: string;
})[];

/** something that is normal here; a field that is absent matches all */
export type Exception = {
  readonly id: string;
  /** wall clock */
  readonly created: string;
  readonly host?: ExceptionHost;
  readonly peer?: ExceptionPeer;
  /** source or destination port */
  readonly port?: number;
  readonly proto?: string;
  readonly category?: Category;
  readonly sensor?: string;
  readonly reason: ExceptionReason;
  readonly expires: Expires;
  /** incidents that it has hidden so far */
  readonly hits: number;
  readonly warnings?: Warnings;
};

export type ExceptionPage = {
  readonly items: readonly (Exception)[];
  readonly next: Next;
};

export type ExceptionPreview = {
  /** incidents that are in the list and would be hidden */
  readonly count: number;
  /** the newest of them */
  readonly items: readonly (Alert)[];
  readonly warnings?: Warnings;
};

/** the cursor of the page that follows; null at the end */
export type Next = string | null;

/** a bidirectional 5-tuple; src is the initiator, "up" what it sent */
export type Connection = {
  /** a 63-bit number as text */
  readonly id: string;
  readonly sensor: string;
  readonly src_ip: string;
  readonly dst_ip: string;
  readonly src_port: Port;
  readonly dst_port: Port;
  readonly proto: string;
  readonly vlan?: number;
  readonly src_mac?: string;
  readonly dst_mac?: string;
  readonly icmp_type?: number;
  readonly icmp_code?: number;
  readonly community_id: string;
  readonly state: ConnectionState;
  /** why it ended; absent while it is open; cut_off where the program was killed before it ended */
  readonly end?: "idle" | "done" | "reused" | "evicted" | "flushed" | "cut_off";
  readonly first_ts: Micros;
  readonly last_ts: Micros;
  readonly packets_up: number;
  readonly packets_down: number;
  /** on the wire */
  readonly bytes_up: number;
  /** on the wire */
  readonly bytes_down: number;
  /** all TCP flags that side has sent */
  readonly flags_up?: string;
  readonly flags_down?: string;
  /** mean over the packets with payload, bits per byte */
  readonly entropy: number;
  /** TLS server name */
  readonly sni?: string;
  /** TLS client fingerprint */
  readonly ja4?: string;
  /** of the incident that it belongs to; 0: none */
  readonly score: number;
  /** id of that incident */
  readonly alert?: string;
  /** bytes/s over the last second of capture time; 0 where the connection is not live */
  readonly rate_up: number;
  readonly rate_down: number;
};

export type ConnectionPage = {
  readonly items: readonly (Connection)[];
  readonly next: Next;
  /** of all pages, where that is known: with live=true */
  readonly total?: number;
};

/** what somebody has decided */
export type Decision = {
  readonly id: string;
  /** wall clock */
  readonly ts: string;
  /** a local user, or token */
  readonly who: string;
  /** the address that asked */
  readonly whence: string;
  readonly action: "triage" | "exception_added" | "exception_changed" | "exception_removed";
  /** the id of the alert or the exception */
  readonly object: string;
  /** what was decided */
  readonly detail: string;
};

export type DecisionPage = {
  readonly items: readonly (Decision)[];
  readonly next: Next;
};

export type Interface = {
  readonly name: string;
  readonly link: "up" | "down" | "gone" | "file" | "ended";
  /** packets that the kernel has heard on it, or that were read of a file */
  readonly received: number;
  /** those of them that found the ring full */
  readonly dropped: number;
};

export type SensorPage = {
  readonly items: readonly (Sensor)[];
  readonly next: string | null;
};

/** the state of a sensor; counters run from its start */
export type Sensor = {
  readonly name: string;
  /** silent: no sign of life for ten seconds; twice: two programs run under its name */
  readonly status: "ok" | "silent" | "twice";
  /** of its program */
  readonly version: string;
  /** the interfaces or the file */
  readonly source: string;
  /** wall clock of its last sign of life; null before the first */
  readonly seen_ts: string | null;
  /** capture time that it has reached; null before its first packet */
  readonly clock_ts: string | null;
  readonly packets: number;
  /** on the wire */
  readonly bytes: number;
  /** packets/s */
  readonly packet_rate: number;
  /** bytes/s */
  readonly byte_rate: number;
  /** connections in its table */
  readonly active: number;
  /** connections since its start */
  readonly opened: number;
  /** packets that nothing has looked at */
  readonly lost: number;
  readonly interfaces: readonly (Interface)[] | null;
  /** who judges what it sees; empty: nobody is heard */
  readonly detector: string;
  /** how far that has learned */
  readonly learning: number;
};

/** an address that has been seen */
export type Host = {
  /** that has seen it */
  readonly sensor: string;
  readonly ip: string;
  /** hardware address; empty: not known */
  readonly mac: string;
  readonly first_ts: Micros;
  readonly last_ts: Micros;
  readonly packets_sent: number;
  readonly packets_received: number;
  /** on the wire */
  readonly bytes_sent: number;
  /** on the wire */
  readonly bytes_received: number;
};

export type HostPage = {
  readonly items: readonly (Host)[];
  readonly next: Next;
  /** of all pages */
  readonly total?: number;
};

export type Column = readonly (number | null)[];

/** traffic by step; the i-th values are of the step that begins i steps after from */
export type Series = {
  /** seconds */
  readonly step: 1 | 10 | 60 | 3600;
  readonly from: Micros;
  readonly to: Micros;
  readonly packets: Column;
  readonly bytes: Column;
  readonly tcp_bytes: Column;
  readonly udp_bytes: Column;
  readonly other_bytes: Column;
  readonly connections: Column;
  readonly drops: Column;
};

/** numbers by name */
export type Counts = {
  readonly [name: string]: number;
} | null;

/** counters run from the program's start; rates are over the last second of capture time */
export type Stats = {
  readonly sensor: string;
  /** the interfaces or the file */
  readonly source: string;
  readonly last_packet_ts: Micros;
  readonly clock_ts: Micros;
  readonly uptime_seconds: number;
  readonly packets: number;
  /** on the wire */
  readonly bytes: number;
  /** packets/s */
  readonly packet_rate: number;
  /** bytes/s */
  readonly byte_rate: number;
  /** packets */
  readonly decoded: number;
  /** packets that are neither IP nor ARP */
  readonly non_ip: number;
  /** parts of fragmented datagrams */
  readonly fragments: {
    readonly first: number;
    readonly later: number;
  };
  /** stamped before the open slot, counted into it */
  readonly late_packets: number;
  /** times that capture time was set back by more than 10 s */
  readonly clock_jumps: number;
  /** packets whose time is far from that of their neighbours, judged at the neighbours' time */
  readonly time_outliers: number;
  /** traffic by protocol */
  readonly by_proto: {
    readonly [name: string]: {
      readonly packets: number;
      readonly bytes: number;
    };
  } | null;
  /** opened = active + expired + evicted */
  readonly connections: {
    readonly active: number;
    readonly opened: number;
    readonly expired: number;
    readonly evicted: number;
    /** counted, but not written to the database */
    readonly unstored: number;
  };
  /** what was lost, kernel to page; stages without losses are listed with 0 */
  readonly drops: readonly ({
    readonly stage: string;
    readonly reason: string;
    readonly count: number;
    readonly unit: "packet" | "slot" | "row" | "alert" | "message" | "client" | "line";
    /** what follows: packets that nothing looked at, packets or connections that the detector does not know of, rows that are not in the database, a list, page or log that is incomplete */
    readonly effect: "unseen" | "unjudged" | "unstored" | "unlisted";
  })[];
  readonly malformed: Counts;
  /** revisions; raised = stored + suppressed + dropped + those on their way */
  readonly alerts: {
    readonly raised: number;
    /** and shown */
    readonly stored: number;
    /** stored as well, but hidden by an exception or by hand */
    readonly suppressed: number;
    readonly dropped: number;
  };
  readonly detector: {
    readonly name: string;
    /** how far it has learned */
    readonly learning: number;
    readonly parts: {
      readonly [name: string]: number;
    } | null;
    /** alerts */
    readonly budget_per_day: number;
    /** alerts that are not due to an absolute limit */
    readonly actual_per_day: number;
    /** so far; these are what the budget is for */
    readonly learned_alerts: number;
    /** so far, raised by absolute limits */
    readonly limit_alerts: number;
    /** times that what was kept from being learned has become the new normal */
    readonly releases: number;
    readonly open_incidents: number;
    readonly entities: Counts;
    readonly caps_hit: Counts;
  };
  readonly interfaces: readonly (Interface)[] | null;
  /** time from a packet's stamp to a stage over the last minute */
  readonly latency_ms: readonly ({
    readonly stage: string;
    /** ms */
    readonly p50: number;
    /** ms */
    readonly p99: number;
  })[] | null;
  /** Memory that the process holds (resident set), with the caches of the database and the kernel's rings. */
  readonly memory_bytes: number;
};

export type Version = 1;

/** new at each start of the server */
export type Epoch = string;

/** never falls within a connection */
export type Seq = number;

/** server's clock, microseconds since the Unix epoch */
export type TS = number;

/** as text above 2^53 */
export type Count = number | string;

export type HelloMessage = {
  readonly v: Version;
  readonly type: "hello";
  readonly epoch: Epoch;
  readonly seq: Seq;
  readonly ts_us: TS;
  readonly data: {
    readonly server: "netlyra";
    readonly version: string;
    /** that there are; at first the client gets all */
    readonly topics: readonly (Topic)[];
    /** updates a second that can be had */
    readonly rates: readonly (number)[];
    /** updates that may be under way */
    readonly credit: number;
    /** the most that waits for a client */
    readonly max_bytes: number;
  };
};

export type Topic = "stats" | "alert" | "connection";

export type SnapshotMessage = {
  readonly v: Version;
  readonly type: "snapshot";
  readonly epoch: Epoch;
  readonly seq: Seq;
  readonly ts_us: TS;
  /** of the topics that the client gets */
  readonly data: {
    readonly stats?: Stats;
    readonly connection?: Columns;
  };
};

export type StatsMessage = {
  readonly v: Version;
  readonly type: "stats";
  readonly epoch: Epoch;
  readonly seq: Seq;
  readonly ts_us: TS;
  readonly data: Stats;
};

export type AlertMessage = {
  readonly v: Version;
  readonly type: "alert";
  readonly epoch: Epoch;
  readonly seq: Seq;
  readonly ts_us: TS;
  readonly data: Alert;
};

export type ConnectionMessage = {
  readonly v: Version;
  readonly type: "connection";
  readonly epoch: Epoch;
  readonly seq: Seq;
  readonly ts_us: TS;
  readonly data: Columns;
};

/** One array a field, all equally long; the i-th values are one connection, whole, which replaces what the client has of that id. At most 1,000 rows, those that changed last, and 160 KiB. */
export type Columns = {
  /** for hello.since: what the client knows of connections after this */
  readonly gen: Count;
  /** these are all; forget what is not among them */
  readonly full: boolean;
  /** rows left out of this message because of its bound, single packets without an answer first; they come when they change again */
  readonly omitted: Count;
  readonly id: readonly (string)[];
  /** that sees it */
  readonly sensor: readonly (string)[];
  /** the initiator */
  readonly src_ip: readonly (string)[];
  readonly dst_ip: readonly (string)[];
  readonly src_port: readonly (number)[];
  readonly dst_port: readonly (number)[];
  readonly proto: readonly (string)[];
  readonly state: readonly (ConnectionState)[];
  /** TLS server name; empty: none */
  readonly sni: readonly (string)[];
  readonly first_ts_us: readonly (number)[];
  readonly last_ts_us: readonly (number)[];
  readonly packets_up: readonly (Count)[];
  readonly packets_down: readonly (Count)[];
  readonly bytes_up: readonly (Count)[];
  readonly bytes_down: readonly (Count)[];
  /** id of the incident that it belongs to; empty: none */
  readonly alert: readonly (string)[];
  /** bytes/s over the last second of capture time */
  readonly rate_up: readonly (number)[];
  readonly rate_down: readonly (number)[];
  readonly score: readonly (number)[];
  /** have left the table */
  readonly gone: readonly (string)[];
};

export type ResyncMessage = {
  readonly v: Version;
  readonly type: "resync";
  readonly epoch: Epoch;
  readonly seq: Seq;
  readonly ts_us: TS;
  readonly data: {
    /** epoch: the server has restarted; too_old: since is; a snapshot follows both. missed: alerts did not fit; fetch GET /api/v1/alerts, the rest goes on. triage: alerts have been hidden or have appeared again, or a person has decided about some; fetch GET /api/v1/alerts, and forget those that are not in it. */
    readonly reason: "epoch" | "too_old" | "missed" | "triage";
    /** alert messages */
    readonly missed: number;
  };
};

export type ByeMessage = {
  readonly v: Version;
  readonly type: "bye";
  readonly epoch: Epoch;
  readonly seq: Seq;
  readonly ts_us: TS;
  readonly data: {
    /** of the close frame that follows */
    readonly code: 1001 | 1008 | 1009 | 1013;
    /** for people: what was wrong with a message, where it was that; the close frame has the first 123 bytes */
    readonly reason: string;
  };
};

export type ClientHelloMessage = {
  readonly type: "hello";
  readonly since?: {
    readonly epoch: Epoch;
    /** the greatest that the client has seen */
    readonly seq: number;
    /** of the last connection message or snapshot */
    readonly gen?: number;
  };
  /** where the connection itself has not brought it */
  readonly token?: string;
  readonly topics?: readonly (Topic)[];
  /** updates a second */
  readonly rate?: number;
};

export type ClientAckMessage = {
  readonly type: "ack";
  readonly seq: number;
};

export type ClientSubMessage = {
  readonly type: "sub";
  /** absent: as before */
  readonly topics?: readonly (Topic)[];
  /** up to 1: once a second; more: as often as there is news; absent: as before */
  readonly rate?: number;
};

export type ClientByeMessage = {
  readonly type: "bye";
};

/** what the server says */
export type ServerMessage =
  | HelloMessage
  | SnapshotMessage
  | StatsMessage
  | ConnectionMessage
  | AlertMessage
  | ResyncMessage
  | ByeMessage;

/** what a client may say; anything else closes with 1008 */
export type ClientMessage =
  | ClientHelloMessage
  | ClientAckMessage
  | ClientSubMessage
  | ClientByeMessage;
