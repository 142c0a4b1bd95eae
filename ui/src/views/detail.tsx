import type { ComponentChildren, JSX } from "preact";
import type { Alert, Top } from "../api/schema.ts";
import { Age, FromPacket } from "../components/basics.tsx";
import { endpoint, featureName, isShare, printable, words } from "../format/names.ts";
import { absolute, parseTime } from "../format/time.ts";
import { count, measured, measuredRange, percent, percentRange, score, shortCount } from "../format/units.ts";

type Reason = NonNullable<Alert["reasons"]>[number];

/** The score from which on an incident is an alert. */
const alertLine = 0.8;

interface DetailProps {
  readonly alert: Alert;
  readonly now: number;
  /** What can be done about it. */
  readonly children: ComponentChildren;
}

/** An alert's evidence, from the sentence down to the numbers. */
export function AlertDetail({ alert: a, now, children }: DetailProps): JSX.Element {
  return (
    <div class="detail">
      <ScoreScale value={a.score} />
      <dl class="facts">
        <Fact name="From">
          <FromPacket text={endpoint(a.src_ip, a.src_port)} />
        </Fact>
        <Fact name="To">
          <FromPacket text={endpoint(a.dst_ip, a.dst_port)} />
        </Fact>
        <Fact name="Protocol">{a.proto}</Fact>
        <Fact name="Evidence in all">{count(a.count)}</Fact>
        <Fact name="Began" wide>
          <Moment at={parseTime(a.ts)} now={now} />
        </Fact>
        <Fact name="Latest" wide>
          <Moment at={parseTime(a.last_ts)} now={now} />
        </Fact>
      </dl>
      <h3>Why</h3>
      <ul class="reasons">
        {(a.reasons ?? []).map((r) => (
          <ReasonBar key={r.feature} reason={r} />
        ))}
      </ul>
      <p class="counterfactual">
        <FromPacket text={a.counterfactual} />
      </p>
      <div class="tops">
        <TopTen name="Peers" top={a.peers} />
        <TopTen name="Ports" top={a.ports} />
      </div>
      {children}
      <p class="provenance">{provenance(a)}</p>
    </div>
  );
}

function Fact({ name, wide = false, children }: { readonly name: string; readonly wide?: boolean; readonly children: ComponentChildren }): JSX.Element {
  return (
    <div class={wide ? "wide" : ""}>
      <dt>{name}</dt>
      <dd class="num">{children}</dd>
    </div>
  );
}

/** A time, and how long ago it was. */
function Moment({ at, now }: { readonly at: number; readonly now: number }): JSX.Element {
  return (
    <>
      {absolute(at)}, <Age at={at} now={now} words />
    </>
  );
}

/** The score on its scale, with the line that it crossed. */
function ScoreScale({ value }: { readonly value: number }): JSX.Element {
  return (
    <div class="score-scale" role="img" aria-label={`Score ${score(value)} of 1; an alert is raised at ${score(alertLine)}`}>
      <span class="score-fill" style={{ width: `${value * 100}%` }} />
      <span class="score-line" style={{ left: `${alertLine * 100}%` }} />
      <span class="score-label num" style={{ left: `${alertLine * 100}%` }}>
        line {score(alertLine)}
      </span>
      <span class="score-value num">score {score(value)}</span>
    </div>
  );
}

/** Whose range a value is held against. */
function usualLabel(basis: Reason["basis"]): string {
  switch (basis) {
    case "host":
      return "usual for this host";
    case "limit":
      return "limit";
    default:
      return "usual";
  }
}

/** One feature: its share of the score as a bar, its value beside what is usual. */
function ReasonBar({ reason: r }: { readonly reason: Reason }): JSX.Element {
  const share = isShare(r.feature);
  const value = share ? percent(r.value) : measured(r.value, r.unit);
  const usual = share
    ? percentRange(r.expected.low, r.expected.high)
    : measuredRange(r.expected.low, r.expected.high, r.unit);
  const track = scaleOf(r);
  return (
    <li class="reason">
      <span class="reason-name">{featureName(r.feature)}</span>
      <span class="reason-value num">{value}</span>
      <span class="reason-usual num">{usualLabel(r.basis)} {usual}</span>
      <span class="reason-share num">{r.contribution > 0 ? percent(r.contribution) : ""}</span>
      <span class="range" aria-hidden="true">
        <span class="range-usual" style={{ left: `${track.low}%`, width: `${Math.max(1, track.high - track.low)}%` }} />
        <span class="range-value" style={{ left: `${track.value}%` }} />
      </span>
      <span class="share-bar" aria-hidden="true">
        <span style={{ width: `${Math.round(r.contribution * 100)}%` }} />
      </span>
    </li>
  );
}

/** Positions in percent on a scale that spreads decades: what is usual and what was seen are often far apart. */
function scaleOf(r: Reason): { low: number; high: number; value: number } {
  const top = Math.log1p(Math.max(r.value, r.expected.high, Number.MIN_VALUE)) * 1.04;
  const at = (v: number): number => (Math.log1p(Math.max(0, v)) / top) * 100;
  return { low: at(r.expected.low), high: at(r.expected.high), value: at(r.value) };
}

function TopTen({ name, top }: { readonly name: string; readonly top: Top }): JSX.Element | null {
  const items = top.top ?? [];
  if (items.length === 0) return null;
  const most = Math.max(...items.map((i) => i.count), 1);
  const rest = top.total - items.length;
  return (
    <section class="top-ten">
      <h3>
        {name} <span class="num muted">{count(top.total)}; evidence since it was raised</span>
      </h3>
      <ol>
        {items.map((i) => (
          <li key={i.name}>
            <span class="top-bar" style={{ width: `${(i.count / most) * 100}%` }} aria-hidden="true" />
            <FromPacket text={i.name} />
            <span class="num">{shortCount(i.count)}</span>
          </li>
        ))}
      </ol>
      {rest > 0 && <p class="muted num">and {count(rest)} more</p>}
    </section>
  );
}

/** Who judged, on what knowledge, having seen how much. */
function provenance(a: Alert): string {
  const parts = Object.entries(a.detector.parts ?? {}).map(([name, share]) => `${words(name)} ${percent(share)}`);
  const learned = `Judged by ${a.detector.name} ${a.detector.version}, which had learned ${percent(a.detector.learning)}`;
  const detail = parts.length > 0 ? ` (${parts.join(", ")})` : "";
  const seen = a.capture_confidence < 1 ? ` Only ${percent(a.capture_confidence)} of that time’s packets were seen.` : "";
  return printable(`${learned}${detail}.${seen} Sensor ${a.sensor}, incident ${a.id}.`);
}
