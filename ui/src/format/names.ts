// Words for what the API names in codes, and texts from packets made safe to show.

/** Words for the features of docs/wire-format.md, all of them and no other. */
export const features: Readonly<Record<string, string>> = {
  byte_rate: "Bytes sent and received",
  entropy: "Payload entropy",
  failed_share: "Share of failures",
  open_rate: "New connections",
  packet_rate: "Packets sent and received",
  peers: "Distinct hosts",
  ports: "Distinct ports",
  reply_share: "Share of replies",
  hst_score: "Half-Space Trees score",
  answer_size_variation: "Variation of answer sizes",
  bytes_in_data_records: "Bytes in DNS data records",
  calls: "Connections at regular times",
  changed_echoes: "Changed ICMP echoes",
  claiming_macs: "Claiming hardware addresses",
  connections: "New connections within 20 s",
  devices_known: "Devices known before",
  dhcp_servers: "DHCP servers",
  failed_connections: "Failed connections",
  failed_hosts: "Hosts with failed attempts",
  failed_ports: "Ports with failed attempts",
  failed_targets: "Ports of local hosts with failed attempts",
  hosts_using_peer: "Local hosts that use the peer",
  hosts_using_port: "Local hosts that use the port",
  icmp_packets: "ICMP packets received",
  incidents: "Incidents at the same time",
  interval: "Time between two calls",
  interval_spread: "Spread of the times between calls",
  name_bytes: "Bytes in new names",
  name_length: "Length of new names",
  names_in_an_hour: "New names in an hour",
  names_with_data_records: "New names with DNS data records",
  new_names: "New names under a domain",
  request_size_variation: "Variation of request sizes",
  services_known: "Services known before",
  session_seconds: "Length of the session",
  short_connections: "Short connections with a service",
  sources: "Distinct sources",
  tls_hellos: "TLS hellos",
  unanswered_packets: "Unanswered packets",
  unasked_bytes: "Bytes of unsolicited answers",
  upload_ratio: "Sent to received",
  uploaded: "Bytes uploaded",
};

/** A feature's name for people; of one that is not known, its code in words. */
export function featureName(code: string): string {
  return features[code] ?? capital(words(code));
}

/** The features that are shares of 1. */
export function isShare(code: string): boolean {
  return code.endsWith("_share");
}

const dropReasons: Readonly<Record<string, string>> = {
  ring_full: "ring full",
  link_type: "unknown link type",
  hello_buffers: "TLS hello too long to hold",
  queue_full: "queue full",
  ws_hub_full: "too many alerts at a time",
  ws_client_slow: "a page was too slow",
  full: "queue full",
  closed: "already closed",
};

export function dropReason(code: string): string {
  return dropReasons[code] ?? words(code);
}

/** port_scan becomes "Port scan". */
export function title(code: string): string {
  return capital(words(code));
}

export function words(code: string): string {
  return code.replaceAll(/[_.]/g, " ");
}

/** A message of the API as a sentence. */
export function sentence(message: string): string {
  return `${capital(message)}.`;
}

function capital(s: string): string {
  return s.slice(0, 1).toUpperCase() + s.slice(1);
}

/** Address and port as one: 192.0.2.7:443, [2001:db8::1]:443; without a port the address alone. */
export function endpoint(ip: string, port: number): string {
  if (port === 0) return ip;
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/**
 * A text from a packet with everything that is invisible or turns the direction of writing made visible, so that what is
 * shown is what was sent. Markup needs no treatment here: the page only ever sets text.
 */
export function printable(s: string): string {
  return s.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]/gu, (c) => `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`);
}
