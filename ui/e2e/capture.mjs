// A small capture file for the tests: conversations of a few hosts, one of which names its server in a way that would be
// markup if it were taken for it, and then a port scan. Everything in it is made up here.
import { writeFileSync } from "node:fs";

/** The server name that must never become an element. Without spaces, which the program replaces. */
export const hostileName = `<img/src=x/onerror="window.hostile=1">.example`;

const linkEthernet = 1;
const clients = ["192.0.2.10", "192.0.2.11", "192.0.2.12"];
const server = "198.51.100.80";
const resolver = "198.51.100.53";
const scanner = "192.0.2.66";
const victim = "198.51.100.7";

const flag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 };

/** Writes a capture of `seconds` of traffic to path. The scan is in its second half. */
export function writeCapture(path, seconds) {
  const frames = [];
  for (let t = 0; t < seconds; t += 0.25) {
    const client = clients[Math.round(t * 4) % clients.length];
    const port = 40_000 + Math.round(t * 4);
    frames.push(...lookup(t, client, port), ...download(t + 0.02, client, port, Math.round(t * 4) % 8 === 0 ? hostileName : "www.example"));
  }
  for (let i = 0; i < 600; i++) {
    const t = seconds / 2 + i * 0.004;
    frames.push([t, tcp(scanner, victim, 51_000 + i, 1 + i, flag.syn, 1, 0, "")]);
    frames.push([t + 0.001, tcp(victim, scanner, 1 + i, 51_000 + i, flag.rst | flag.ack, 0, 2, "")]);
  }
  frames.sort(([a], [b]) => a - b);
  writeFileSync(path, Buffer.concat([fileHeader(), ...frames.map(([t, frame]) => record(t, frame))]));
}

/**
 * Writes a capture of n port scans, one every gap seconds from `from` on, each by another host of another victim, after which the first goes
 * on with so many more ports, 20 a second, and of one packet at `end`.
 */
export function writeScans(path, n, gap, from, end, more = 0) {
  const frames = [[end, tcp(clients[0], server, 45_000, 443, flag.syn, 1, 0, "")]];
  const scan = (i, at, first, last, pace) => {
    const [source, target] = [`192.0.2.${1 + i}`, `198.51.100.${1 + i}`];
    for (let port = first; port <= last; port++) {
      const t = at + (port - first) * pace;
      frames.push([t, tcp(source, target, 51_000 + port, port, flag.syn, 1, 0, "")]);
      frames.push([t + 0.001, tcp(target, source, port, 51_000 + port, flag.rst | flag.ack, 0, 2, "")]);
    }
  };
  for (let i = 0; i < n; i++) scan(i, from + i * gap, 1, 200, 0.002);
  scan(0, from + n * gap + 0.5, 201, 200 + more, 0.05);
  frames.sort(([a], [b]) => a - b);
  writeFileSync(path, Buffer.concat([fileHeader(), ...frames.map(([t, frame]) => record(t, frame))]));
}

/** The ends of the connections that talk in writeFlood. */
export const talkers = clients.map((c) => `${c}:45000`);

/** Writes a capture of three connections that talk, each a packet and an answer a second, and of 1,500 spoofed SYN a second that nobody answers. */
export function writeFlood(path, seconds) {
  const frames = [];
  for (const [i, client] of clients.entries()) {
    frames.push([0, tcp(client, server, 45_000, 443, flag.syn, 1, 0, "")], [0.001, tcp(server, client, 443, 45_000, flag.syn | flag.ack, 1, 2, "")]);
    for (let t = 0.1 + i * 0.01; t < seconds; t += 1) {
      frames.push([t, tcp(client, server, 45_000, 443, flag.psh | flag.ack, 2 + t * 10, 2, "a")]);
      frames.push([t + 0.002, tcp(server, client, 443, 45_000, flag.psh | flag.ack, 2 + t * 10, 3, "b")]);
    }
  }
  for (let i = 0; i < seconds * 1500; i++) {
    const source = `203.0.${i >> 8 & 255}.${i & 255}`;
    frames.push([0.5 + i / 1500, tcp(source, victim, 1024 + i % 60_000, 80, flag.syn, i, 0, "")]);
  }
  frames.sort(([a], [b]) => a - b);
  writeFileSync(path, Buffer.concat([fileHeader(), ...frames.map(([t, frame]) => record(t, frame))]));
}

function lookup(t, client, port) {
  const question = Buffer.concat([Buffer.from("0001010000010000000000000377777707", "hex"), Buffer.from("example"), Buffer.from("0000010001", "hex")]);
  return [
    [t, udp(client, resolver, port, 53, question)],
    [t + 0.005, udp(resolver, client, 53, port, question)],
  ];
}

/** A TLS connection: handshake, hello with a server name, some data, the end. */
function download(t, client, port, name) {
  const frames = [];
  let [up, down] = [1000, 9000];
  const send = (dt, fromClient, flags, data = Buffer.alloc(0)) => {
    const frame = fromClient
      ? tcp(client, server, port, 443, flags, up, down, data)
      : tcp(server, client, 443, port, flags, down, up, data);
    frames.push([t + dt, frame]);
    const used = data.length + (flags & (flag.syn | flag.fin) ? 1 : 0);
    if (fromClient) up += used;
    else down += used;
  };
  send(0, true, flag.syn);
  send(0.002, false, flag.syn | flag.ack);
  send(0.004, true, flag.ack);
  send(0.006, true, flag.psh | flag.ack, hello(name));
  for (let i = 0; i < 20; i++) {
    send(0.01 + i * 0.01, false, flag.psh | flag.ack, noise(1200, i));
    send(0.012 + i * 0.01, true, flag.ack);
  }
  return frames;
}

/** A TLS 1.2 client hello (RFC 5246, section 7.4.1.2) with the server name extension (RFC 6066, section 3). */
function hello(name) {
  const host = Buffer.from(name, "latin1");
  const list = Buffer.concat([Buffer.from([0]), sized(host, 2)]);
  const extension = Buffer.concat([Buffer.from([0, 0]), sized(sized(list, 2), 2)]);
  const body = Buffer.concat([
    Buffer.from([3, 3]), noise(32, 7), // version, random
    Buffer.from([0]), // session id
    sized(Buffer.from([0x13, 0x01, 0xc0, 0x2f]), 2), // cipher suites
    sized(Buffer.from([0]), 1), // compression
    sized(extension, 2),
  ]);
  const handshake = Buffer.concat([Buffer.from([1]), sized(body, 3)]);
  return Buffer.concat([Buffer.from([22, 3, 1]), sized(handshake, 2)]);
}

/** data after its length in so many bytes. */
function sized(data, width) {
  const length = Buffer.alloc(width);
  length.writeUIntBE(data.length, 0, width);
  return Buffer.concat([length, data]);
}

/** The same arbitrary bytes for the same seed. */
function noise(length, seed) {
  let state = seed + 1;
  return Buffer.from(Array.from({ length }, () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state >>> 24;
  }));
}

function tcp(src, dst, srcPort, dstPort, flags, seq, ack, data) {
  const header = Buffer.alloc(20);
  header.writeUInt16BE(srcPort, 0);
  header.writeUInt16BE(dstPort, 2);
  header.writeUInt32BE(seq, 4);
  header.writeUInt32BE(ack, 8);
  header[12] = 5 << 4;
  header[13] = flags;
  header.writeUInt16BE(64_240, 14);
  return ip(6, src, dst, Buffer.concat([header, Buffer.from(data)]));
}

function udp(src, dst, srcPort, dstPort, data) {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(srcPort, 0);
  header.writeUInt16BE(dstPort, 2);
  header.writeUInt16BE(8 + data.length, 4);
  return ip(17, src, dst, Buffer.concat([header, data]));
}

/** An Ethernet frame with an IPv4 packet. */
function ip(proto, src, dst, payload) {
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header.writeUInt16BE(20 + payload.length, 2);
  header[8] = 64;
  header[9] = proto;
  Buffer.from(src.split(".").map(Number)).copy(header, 12);
  Buffer.from(dst.split(".").map(Number)).copy(header, 16);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([Buffer.from("0200000000020200000000010800", "hex"), header, payload]);
}

function checksum(b) {
  let sum = 0;
  for (let i = 0; i < b.length; i += 2) sum += b.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

function fileHeader() {
  const h = Buffer.alloc(24);
  h.writeUInt32LE(0xa1b2c3d4, 0);
  h.writeUInt16LE(2, 4);
  h.writeUInt16LE(4, 6);
  h.writeUInt32LE(65_535, 16);
  h.writeUInt32LE(linkEthernet, 20);
  return h;
}

function record(t, frame) {
  const h = Buffer.alloc(16);
  h.writeUInt32LE(1_700_000_000 + Math.floor(t), 0);
  h.writeUInt32LE(Math.floor((t % 1) * 1e6), 4);
  h.writeUInt32LE(frame.length, 8);
  h.writeUInt32LE(frame.length, 12);
  return Buffer.concat([h, frame]);
}
