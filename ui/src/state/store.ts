// Joins the model to the page: messages go in, signals come out, at the pace at which a person reads.
import { computed, signal, batch } from "@preact/signals";
import { closeSession, getAlert, getAlerts, getHealth, getSeconds, openSession, APIError } from "../api/rest.ts";
import { LiveSocket, type Link } from "../api/socket.ts";
import type { Alert, Health, ServerMessage, Severity, Stats } from "../api/schema.ts";
import { announcement } from "./alerts.ts";
import { hold, type Connection, type SortKey } from "./connections.ts";
import { captureNow, Clock, isPresent } from "./clock.ts";
import { Decisions, newest, ofSensor } from "./decisions.ts";
import { Fleet, isFleet, statsOf } from "./fleet.ts";
import { Model } from "./model.ts";
import { problemOf, type Problem } from "./problems.ts";
import { parseTime } from "../format/time.ts";
import { windowMs, type Measure, type Rates, type Traffic } from "./traffic.ts";
import { freshness, notices } from "./status.ts";

/** Numbers change four times a second, rows once: faster is flicker. Alerts and the chart do not wait. */
const numbersEvery = 250;
const rowsEvery = 1000;
const healthEvery = 10_000;
const announceEvery = 5_000;
/** Sensors, and the seconds of their traffic, are told once a second, and kept a moment later. */
const fleetEvery = 2_000;
const alertsPage = 100;
/** So many that go on are counted. */
const mostOpen = 2_000;
/** The history is asked for at once, and for its last seconds once more when they have been written. */
const historyAgain = 4_000;

export interface Rows {
  readonly rows: readonly Connection[];
  /** Rises at each change, as the connections themselves are changed in place. */
  readonly version: number;
  /** So many are open, by the server's count of then. */
  readonly active: number;
  /** The server has sent those that moved last, not all. */
  readonly partial: boolean;
}

export type AlertsState =
  | { readonly kind: "loading" }
  | { readonly kind: "ready" }
  | { readonly kind: "failed"; readonly problem: Problem };

/** How the loading of older alerts stands. */
export type OlderState = "more" | "loading" | "end" | Problem;

export class Store {
  readonly #model = new Model();
  readonly #socket: LiveSocket;

  readonly link = signal<Link>({ kind: "connecting", attempt: 0 });
  readonly stats = signal<Stats | null>(null);
  readonly decisions = new Decisions();
  readonly fleet = new Fleet();
  readonly version = signal("");
  readonly health = signal<Health | null>(null);
  readonly alerts = signal<readonly Alert[]>([]);
  readonly alertsState = signal<AlertsState>({ kind: "loading" });
  readonly olderAlerts = signal<OlderState>("end");
  /** The alerts of the list that go on, loaded or not, as the server counts them; null: not known yet. */
  readonly openAlerts = signal<ReadonlyMap<string, Severity> | null>(null);
  /** An alert that was asked for from elsewhere on the page and is not in the list, or why there is none. */
  readonly linked = signal<Alert | Problem | null>(null);
  readonly rows = signal<Rows>({ rows: [], version: 0, active: 0, partial: false });
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

  /** The server has many sensors. */
  readonly isFleet = computed(() => isFleet(this.stats.value));
  /** The name of the sensor that the page is about; "": all there are. */
  readonly chosen = computed(() => (this.isFleet.value ? this.fleet.chosen.value : ""));
  /** The numbers of what the page is about; null while nothing is known of it. */
  readonly shown = computed(() => {
    const [all, one] = [this.stats.value, this.fleet.one.value];
    if (all === null || this.chosen.value === "") return all;
    return one === null ? null : statsOf(one, all);
  });

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
  #fleetCalls = 0;
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
    return parseTime(this.shown.value?.clock_ts ?? null);
  }

  /** Connects, and keeps the page up to date until the returned function is called. */
  start(): () => void {
    const visibility = (): void => this.#applyRate();
    document.addEventListener("visibilitychange", visibility);
    const every = (ms: number, f: () => void): void => void this.#timers.push(window.setInterval(f, ms));
    every(numbersEvery, () => this.#publishNumbers());
    every(rowsEvery, () => this.#publishRows());
    every(healthEvery, () => void this.#fetchHealth());
    every(fleetEvery, () => void this.#fetchFleet());
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
      return e instanceof Error ? e.message : String(e);
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

  /** Makes the page about one sensor, or about all (""). */
  choose(sensor: string): void {
    this.setPaused(false);
    this.closeAlert();
    this.fleet.choose(sensor);
    this.#about();
    this.#model.alerts.clear();
    this.#model.traffic.replace(null, 0);
    this.alertsState.value = { kind: "loading" };
    this.#publishAlerts();
    this.#setRows(this.#sorted());
    void this.#fetchAlerts("anew");
    void this.decisions.load();
    void this.#fetchFleet();
  }

  /** Has everything that is loaded be of the sensor that the page is about. */
  #about(): void {
    const stats = this.#model.stats;
    this.#model.sensor = this.decisions.sensor = isFleet(stats) ? this.fleet.chosen.value : "";
  }

  sortBy(key: SortKey): void {
    const { key: old, descending } = this.sort.value;
    this.sort.value = { key, descending: key === old ? !descending : key !== "state" && key !== "name" };
    this.#setRows(this.#sorted());
  }

  /** Opens an alert. One that is not loaded is fetched and stands above the list. */
  async showAlert(id: string): Promise<void> {
    this.decisions.show("listed");
    this.openAlert.value = id;
    this.linked.value = null;
    if (this.alerts.value.some((a) => a.id === id)) return;
    try {
      const found = await getAlert(id);
      if (this.openAlert.value === id) this.linked.value = found;
    } catch (e) {
      if (this.openAlert.value !== id) return;
      const gone = e instanceof APIError && e.status === 404;
      this.linked.value = gone ? { text: "That alert is not kept any more.", token: false } : await problemOf(e);
    }
  }

  /** Shows or hides the evidence of an alert of the list. */
  toggleAlert(id: string): void {
    const open = this.openAlert.value === id;
    this.closeAlert();
    if (!open) this.openAlert.value = id;
  }

  closeAlert(): void {
    this.openAlert.value = null;
    this.linked.value = null;
  }

  /** Loads the alerts that follow the oldest. */
  async loadOlder(): Promise<void> {
    const list = this.#model.alerts;
    const following = list.following();
    if (following === null || this.olderAlerts.value === "loading") return;
    this.olderAlerts.value = "loading";
    list.expect(alertsPage);
    let problem: Problem | null = null;
    try {
      const { items, next } = await getAlerts({ ...following, ...ofSensor(this.#model.sensor), limit: alertsPage });
      list.append(following, items, next === null ? null : { ...following, cursor: next });
    } catch (e) {
      problem = await problemOf(e);
    }
    batch(() => {
      this.olderAlerts.value = problem ?? "more";
      this.#publishAlerts();
    });
  }

  /** Asks for a token anew, whatever session there is. */
  async signIn(): Promise<void> {
    await closeSession().catch(() => undefined); // who does not answer will say so when the page connects
    void this.#socket.connect();
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
    if (m.type === "snapshot") this.#about();
    if (m.type === "hello") this.version.value = this.#model.version;
    if (m.type === "stats" || m.type === "snapshot") this.#clocks(m.ts_us / 1000);
    if (m.type === "alert" || m.type === "hello") this.#publishAlerts();
    if (m.type === "alert") this.#updateLinked(m.data);
    if ((m.type === "stats" || m.type === "snapshot") && this.#historyDue) {
      this.#historyDue = false;
      if (isFleet(m.type === "stats" ? m.data : (m.data.stats ?? null))) void this.#fetchFleet();
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
    return this.#model.connections.sorted(key, descending, this.#model.sensor);
  }

  #setRows(rows: readonly Connection[]): void {
    const { connections, stats } = this.#model;
    this.rows.value = { rows, version: this.rows.value.version + 1, active: (this.#model.sensor === "" ? stats?.connections.active : this.fleet.one.value?.active) ?? 0, partial: connections.partial };
  }

  #announce(): void {
    if (this.#fresh.length === 0 || Date.now() - this.#announcedAt < announceEvery) return;
    this.announced.value = announcement(this.#fresh);
    this.#announcedAt = Date.now();
    this.#fresh = [];
  }

  #updateLinked(a: Alert): void {
    const l = this.linked.value;
    if (l !== null && "id" in l && l.id === a.id && a.rev > l.rev) this.linked.value = a;
  }

  #publishAlerts(): void {
    batch(() => {
      const list = this.#model.alerts;
      this.alerts.value = list.items;
      this.openAlerts.value = list.open;
      if (list.following() === null) this.olderAlerts.value = "end";
      else if (this.olderAlerts.value === "end") this.olderAlerts.value = "more";
    });
  }

  async #fetchAlerts(how: true | "anew"): Promise<void> {
    if (this.#again !== "anew") this.#again = how;
    if (this.#fetching) return;
    this.#fetching = true;
    const list = this.#model.alerts;
    try {
      while (this.#again !== false) {
        const anew = this.#again === "anew";
        this.#again = false;
        const of = ofSensor(this.#model.sensor);
        const doubted = new Set(anew ? list.items.map((a) => a.id) : []);
        list.askOpen();
        const [some, open] = await Promise.all([
          newest(of, anew ? Math.max(alertsPage, list.items.length) : alertsPage), newest({ state: "open", ...of }, mostOpen),
        ]);
        if (of.sensor !== ofSensor(this.#model.sensor).sensor) continue; // another was chosen, and is asked for
        list.renew(some.items, some.next === null ? null : { cursor: some.next }, doubted);
        list.setOpen(open.items);
        this.#publishAlerts();
        this.alertsState.value = { kind: "ready" };
      }
    } catch (e) {
      list.openFailed();
      const problem = await problemOf(e);
      if (this.#again === false) this.alertsState.value = { kind: "failed", problem };
    } finally {
      this.#fetching = false;
    }
    if (this.#again !== false) void this.#fetchAlerts(this.#again); // asked for while one failed
  }

  /** Fills the chart with what the server has kept of the last minute. A capture with a time of its own has no place in it. */
  async #fetchHistory(): Promise<void> {
    const { stats, statsAt, traffic } = this.#model;
    if (isFleet(stats) || !isPresent(statsAt, parseTime(stats?.clock_ts ?? null))) return;
    try {
      traffic.fill(await getSeconds(statsAt - windowMs - 1000, ""), statsAt);
    } catch {
      // What the page has not seen itself stays unknown, and is hatched.
    }
  }

  /** Of many sensors the server has no common counters from one moment to the next: the chart is its history, again and again. */
  async #fetchFleet(): Promise<void> {
    if (this.link.value.kind !== "live" || !isFleet(this.#model.stats) || document.hidden || this.paused.value) return;
    const { statsAt, traffic, sensor } = this.#model;
    const call = ++this.#fleetCalls;
    const [seconds] = await Promise.all([getSeconds(statsAt - windowMs - 1000, sensor).catch(() => null), this.fleet.load()]);
    if (call !== this.#fleetCalls || this.paused.value) return; // a later call has overtaken this one
    if (seconds !== null) traffic.replace(seconds, statsAt);
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
