// Words for what the API names in codes, and texts from packets made safe to show.

const features: Readonly<Record<string, string>> = {
  byte_rate: "Bytes sent",
  entropy: "Payload entropy",
  failed: "Failed connections",
  failed_connections: "Failed connections",
  failed_share: "Share of failures",
  open_rate: "New connections",
  packet_rate: "Packets sent",
  peers: "Distinct hosts",
  ports: "Distinct ports",
  distinct_ports: "Distinct ports",
  reply_share: "Share of replies",
  sources: "Distinct sources",
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
