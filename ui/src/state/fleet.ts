// The sensors of a console (`netlyra serve`), and the one that the page is about.
import { computed, signal, type ReadonlySignal } from "@preact/signals";
import { getSensors } from "../api/rest.ts";
import type { Sensor, Stats } from "../api/schema.ts";
import { problemOf, type Problem } from "./problems.ts";

/** So many are listed; all are counted. */
const mostListed = 200;
const parameter = "sensor";

/** Whether the server is a console of many sensors: those of one sensor have its name. */
export function isFleet(stats: Stats | null): boolean {
  return stats !== null && stats.source === "fleet" && stats.sensor === "";
}

export interface Sensors {
  /** Those that are not well first, then by name. */
  readonly listed: readonly Sensor[];
  readonly all: number;
  /** Names of those that are heard and that nobody judges. */
  readonly unjudged: readonly string[];
}

const none: Sensors = { listed: [], all: 0, unjudged: [] };

/** The list that is shown. The one that was chosen is always in it. */
export function arrange(all: readonly Sensor[], chosen: string): Sensors {
  const rank = (s: Sensor): number => (s.status === "ok" ? 1 : 0);
  const sorted = [...all].sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
  const listed = sorted.filter((s, i) => i < mostListed || s.name === chosen);
  return { listed, all: all.length, unjudged: all.filter((s) => s.status !== "silent" && s.detector === "").map((s) => s.name) };
}

/** The numbers of one sensor, in the form of the server's own. What the server does not know of it is empty. */
export function statsOf(s: Sensor, all: Stats): Stats {
  const lost = { stage: "sensor", reason: "lost", count: s.lost, unit: "packet", effect: "unseen" } as const;
  return {
    ...all, sensor: s.name, source: s.source, packets: s.packets, bytes: s.bytes, packet_rate: s.packet_rate, byte_rate: s.byte_rate,
    last_packet_ts: s.clock_ts, clock_ts: s.clock_ts, interfaces: s.interfaces, drops: [lost],
    connections: { ...all.connections, active: s.active, opened: s.opened, expired: 0 },
    detector: { ...all.detector, name: s.detector, learning: s.learning, parts: {} },
  };
}

export class Fleet {
  readonly sensors = signal<Sensors>(none);
  /** The server has told of its sensors. */
  readonly loaded = signal(false);
  readonly problem = signal<Problem | null>(null);
  /** The name of the sensor that the page is about; "": all. It is in the page's address. */
  readonly chosen = signal(new URLSearchParams(location.search).get(parameter) ?? "");
  /** Its state; null: all are shown, or it has not been heard. */
  readonly one: ReadonlySignal<Sensor | null> = computed(() => this.sensors.value.listed.find((s) => s.name === this.chosen.value) ?? null);

  choose(name: string): void {
    this.chosen.value = name;
    const address = new URL(location.href);
    if (name === "") address.searchParams.delete(parameter);
    else address.searchParams.set(parameter, name);
    history.replaceState(history.state, "", address);
  }

  /** Fetches the states of the sensors. */
  async load(): Promise<void> {
    try {
      this.sensors.value = arrange((await getSensors()).items, this.chosen.value);
      this.loaded.value = true;
      this.problem.value = null;
    } catch (e) {
      this.problem.value = await problemOf(e);
    }
  }
}
