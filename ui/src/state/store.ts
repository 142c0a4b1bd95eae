// Joins the model to the page: messages go in, signals come out, at the pace at which a person reads.
import { computed, signal, batch } from "@preact/signals";
import { getAlerts, getHealth, getSeconds, openSession, APIError } from "../api/rest.ts";
import { LiveSocket, type Link } from "../api/socket.ts";
import type { Alert, Health, ServerMessage, Stats } from "../api/schema.ts";
import { announcement } from "./alerts.ts";
import { hold, type Connection, type SortKey } from "./connections.ts";
import { captureNow, Clock, isPresent } from "./clock.ts";
import { Decisions } from "./decisions.ts";
import { Model } from "./model.ts";
import { parseTime } from "../format/time.ts";
import { windowMs, type Measure, type Rates, type Traffic } from "./traffic.ts";
import { freshness, notices } from "./status.ts";

/** Numbers change four times a second, rows once: faster is flicker. Alerts and the chart do not wait. */
const numbersEvery = 250;
const rowsEvery = 1000;
const healthEvery = 10_000;
const announceEvery = 5_000;
const alertsWanted = 100;
/** The history is asked for at once, and for its last seconds once more when they have been written. */
const historyAgain = 4_000;

export interface Rows {
  readonly rows: readonly Connection[];
  /** Rises at each change, as the connections themselves are changed in place. */
  readonly version: number;
}

export type AlertsState =
  | { readonly kind: "loading" }
  | { readonly kind: "ready" }
  | { readonly kind: "failed"; readonly message: string };

export class Store {
  readonly #model = new Model();
  readonly #socket: LiveSocket;

  readonly link = signal<Link>({ kind: "connecting", attempt: 0 });
  readonly stats = signal<Stats | null>(null);
  readonly decisions = new Decisions();
  readonly version = signal("");
  readonly health = signal<Health | null>(null);
  readonly alerts = signal<readonly Alert[]>([]);
  readonly alertsState = signal<AlertsState>({ kind: "loading" });
  readonly rows = signal<Rows>({ rows: [], version: 0 });
  readonly sort = signal<{ key: SortKey; descending: boolean }>({ key: "rate", descending: true });
  readonly announced = signal("");
  /** The id of the alert that is open; null: none. */
  readonly openAlert = signal<string | null>(null);
  /** The server's clock in ms at the numbers that are shown. */
  readonly shownAt = signal(Number.NaN);
  /** This machine's clock in ms, four times a second. */
  readonly now = signal(Date.now());
  /** The display stands still; the program goes on. */
  readonly paused = signal(false);
  readonly #recentLosses = signal(0);
  readonly #arrived = signal(Number.NaN);

  readonly freshness = computed(() => freshness(this.link.value, this.#arrived.value, this.now.value));
  readonly notices = computed(() => notices(this.stats.value, this.health.value, this.#recentLosses.value));

  #arrivedAt = Number.NaN; // of the latest numbers, this machine's clock
  readonly #clock = new Clock();
  #heldTraffic: Traffic | null = null; // what is shown while the display is paused
  #held = false;
  #ack = 0;
  #frame = 0;
  #fresh: Alert[] = [];
  #announcedAt = 0;
  #fetching = false;
  #again: false | true | "anew" = false; // fetch alerts once more
  #timers: number[] = [];
  #historyTimer = 0;
  #historyDue = false; // with the next numbers, by which the server's clock is known

  constructor() {
    this.#socket = new LiveSocket({
      since: () => this.#model.since(),
      rate: () => this.#rate(),
      onLink: (l) => this.#setLink(l),
      onMessage: (m) => this.#take(m),
    });
  }

  get traffic(): Traffic {
    return this.#heldTraffic ?? this.#model.traffic;
  }

  /** The server's clock in ms, as far as it is known here. It stands while the display is paused. */
  serverNow(): number {
    return this.#clock.now(Date.now());
  }

  /** The present of captured packets in ms, from which their ages count. */
  captureNow(): number {
    return captureNow(this.serverNow(), this.#reached());
  }

  /** Whether packets are of the present: a file that is read at full speed has its own time. */
  isPresent(): boolean {
    return isPresent(this.serverNow(), this.#reached());
  }

  /** The rates of the last second: the tiles and the legend show these. */
  rates(measure: Measure): Rates | null {
    return this.traffic.latest(this.shownAt.value, measure);
  }

  /** When the server last spoke, by its clock, in ms; NaN: never. */
  get heardAt(): number {
    return this.#model.statsAt;
  }

  #reached(): number {
    return parseTime(this.stats.value?.clock_ts ?? null);
  }

  /** Connects, and keeps the page up to date until the returned function is called. */
  start(): () => void {
    const visibility = (): void => this.#applyRate();
    document.addEventListener("visibilitychange", visibility);
    const every = (ms: number, f: () => void): void => void this.#timers.push(window.setInterval(f, ms));
    every(numbersEvery, () => this.#publishNumbers());
    every(rowsEvery, () => this.#publishRows());
    every(healthEvery, () => void this.#fetchHealth());
    void this.#socket.connect();
    return () => {
      document.removeEventListener("visibilitychange", visibility);
      for (const t of this.#timers) clearInterval(t);
      clearTimeout(this.#historyTimer);
    };
  }

  reconnect(): void {
    void this.#socket.connect();
  }

  /** Hands the token in; the problem as text, or null. */
  async unlock(token: string): Promise<string | null> {
    try {
      await openSession(token);
    } catch (e) {
      return e instanceof APIError ? e.message : String(e);
    }
    void this.#socket.connect();
    return null;
  }

  setPaused(paused: boolean): void {
    if (paused === this.paused.value) return;
    if (paused) {
      this.#publishNumbers();
      this.#clock.hold(Date.now());
      this.#heldTraffic = this.#model.traffic.copy();
    } else {
      this.#clock.release();
      this.#heldTraffic = null;
    }
    this.paused.value = paused;
    this.#applyRate();
    if (!paused) {
      this.#publishNumbers();
      this.#publishRows();
    }
  }

  /** While held, rows stay where they are: somebody is about to click one. */
  setHeld(held: boolean): void {
    if (held === this.#held) return;
    this.#held = held;
    if (!held) this.#publishRows();
  }

  sortBy(key: SortKey): void {
    const { key: old, descending } = this.sort.value;
    this.sort.value = { key, descending: key === old ? !descending : key !== "state" && key !== "name" };
    this.#setRows(this.#sorted());
  }

  /** Opens an alert of the list. */
  showAlert(id: string): void {
    this.decisions.show("listed");
    this.openAlert.value = id;
  }

  retryAlerts(): void {
    void this.#fetchAlerts(true);
  }

  #rate(): number {
    return document.hidden || this.paused.value ? 1 : 60;
  }

  #applyRate(): void {
    this.#socket.setRate(this.#rate());
    this.#acknowledgeSoon();
  }

  #setLink(link: Link): void {
    this.link.value = link;
    if (link.kind === "live") {
      this.#clock.forget(); // the clocks may have been set
      void this.#fetchHealth();
      this.#historyDue = true;
    }
  }

  #take(m: ServerMessage): void {
    const { ack, fetchAlerts, fresh } = this.#model.apply(m);
    if (m.type === "hello") this.version.value = this.#model.version;
    if (m.type === "stats" || m.type === "snapshot") this.#clocks(m.ts_us / 1000);
    if (m.type === "alert" || m.type === "hello") this.alerts.value = this.#model.alerts;
    if ((m.type === "stats" || m.type === "snapshot") && this.#historyDue) {
      this.#historyDue = false;
      void this.#fetchHistory();
      clearTimeout(this.#historyTimer);
      this.#historyTimer = window.setTimeout(() => void this.#fetchHistory(), historyAgain);
    }
    if (m.type === "snapshot") {
      this.#publishNumbers();
      this.#publishRows();
    }
    if (fresh !== undefined) {
      this.#fresh.unshift(fresh);
      this.#announce();
    }
    if (fetchAlerts !== undefined) void this.#fetchAlerts(fetchAlerts);
    if (fetchAlerts === "anew" || m.type === "snapshot") void this.decisions.load();
    if (ack !== undefined) {
      this.#ack = Math.max(ack, m.type === "snapshot" ? 0 : this.#ack);
      this.#acknowledgeSoon();
    }
  }

  #clocks(serverMs: number): void {
    this.#arrivedAt = Date.now();
    this.#clock.hear(serverMs, this.#arrivedAt);
  }

  /** After the next frame: a page that stalls is sent the present, not the past. What nobody sees is drawn at once. */
  #acknowledgeSoon(): void {
    if (document.hidden) {
      this.#socket.acknowledge(this.#ack);
      return;
    }
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#socket.acknowledge(this.#ack);
    });
  }

  #publishNumbers(): void {
    batch(() => {
      this.now.value = Date.now();
      this.#arrived.value = this.#arrivedAt;
      if (this.paused.value) return;
      this.shownAt.value = this.serverNow();
      this.stats.value = this.#model.stats;
      this.#recentLosses.value = this.#model.recentLosses();
    });
    this.#announce();
  }

  #publishRows(): void {
    if (this.paused.value) return;
    const sorted = this.#sorted();
    this.#setRows(this.#held ? hold(this.rows.value.rows, sorted) : sorted);
  }

  #sorted(): readonly Connection[] {
    const { key, descending } = this.sort.value;
    return this.#model.connections.sorted(key, descending);
  }

  #setRows(rows: readonly Connection[]): void {
    this.rows.value = { rows, version: this.rows.value.version + 1 };
  }

  #announce(): void {
    if (this.#fresh.length === 0 || Date.now() - this.#announcedAt < announceEvery) return;
    this.announced.value = announcement(this.#fresh);
    this.#announcedAt = Date.now();
    this.#fresh = [];
  }

  async #fetchAlerts(how: true | "anew"): Promise<void> {
    if (this.#again !== "anew") this.#again = how;
    if (this.#fetching) return;
    this.#fetching = true;
    try {
      while (this.#again !== false) {
        const doubted = new Set(this.#again === "anew" ? this.#model.alerts.map((a) => a.id) : []);
        this.#again = false;
        this.#model.addAlerts(await getAlerts(alertsWanted), doubted);
        this.alerts.value = this.#model.alerts;
        this.alertsState.value = { kind: "ready" };
      }
    } catch (e) {
      this.#again = false;
      this.alertsState.value = { kind: "failed", message: e instanceof Error ? e.message : String(e) };
    } finally {
      this.#fetching = false;
    }
  }

  /** Fills the chart with what the server has kept of the last minute. A capture with a time of its own has no place in it. */
  async #fetchHistory(): Promise<void> {
    const { stats, statsAt, traffic } = this.#model;
    if (!isPresent(statsAt, parseTime(stats?.clock_ts ?? null))) return;
    try {
      traffic.fill(await getSeconds(statsAt - windowMs - 1000), statsAt);
    } catch {
      // What the page has not seen itself stays unknown, and is hatched.
    }
  }

  async #fetchHealth(): Promise<void> {
    if (this.link.value.kind !== "live") return;
    try {
      this.health.value = await getHealth();
    } catch {
      // The connection's own state tells that the server does not answer.
    }
  }
}
