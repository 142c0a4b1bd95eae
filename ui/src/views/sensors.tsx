import type { JSX } from "preact";
import type { Sensor } from "../api/schema.ts";
import { Age, Empty, FromPacket, Panel, Skeleton } from "../components/basics.tsx";
import { printable } from "../format/names.ts";
import { parseTime } from "../format/time.ts";
import { bitsPerSecond, count, packetsPerSecond, percent, shortCount, text } from "../format/units.ts";
import type { Tone } from "../state/status.ts";
import type { Store } from "../state/store.ts";
import { ProblemNote } from "./problem.tsx";

const states: Readonly<Record<Sensor["status"], readonly [Tone, string]>> = {
  ok: ["good", "ok"],
  silent: ["bad", "silent"],
  twice: ["warn", "twice: two programs have this name"],
};

/** The sensors of a console. One of them can be chosen: the page is about it then. */
export function SensorsPanel({ store }: { readonly store: Store }): JSX.Element {
  const { sensors, problem } = store.fleet;
  const { listed, all } = sensors.value;
  const chosen = store.chosen.value;
  return (
    <Panel
      id="sensors"
      title="Sensors"
      extra={
        <>
          <span class="panel-note num">{!store.fleet.loaded.value ? "" : listed.length < all ? `${count(listed.length)} of ${count(all)}, those not ok first` : count(all)}</span>
          {chosen !== "" && store.fleet.one.value === null && <span class="panel-note">{printable(chosen)} has not been heard</span>}
          <ProblemNote problem={problem.value} onSignIn={() => void store.signIn()} />
          <span class="spring" />
          {chosen !== "" && (
            <button type="button" class="tool" onClick={() => store.choose("")}>
              All sensors
            </button>
          )}
        </>
      }
    >
      {!store.fleet.loaded.value ? (
        <Skeleton rows={2} />
      ) : all === 0 ? (
        <Empty title="No sensor has been heard" text="Start sensors with `netlyra run --brokers` and the same brokers." />
      ) : (
        <div class="scroll sensors-scroll" role="region" aria-label="Sensors as a table" tabIndex={0}>
          <table>
            <thead>
              <tr>
                <th scope="col">Sensor</th>
                <th scope="col">State</th>
                <th scope="col" class="numeric">Traffic</th>
                <th scope="col" class="numeric">Packets</th>
                <th scope="col" class="numeric">Open connections</th>
                <th scope="col" class="numeric">Lost packets</th>
                <th scope="col">Judged by</th>
                <th scope="col" class="numeric">Heard</th>
              </tr>
            </thead>
            <tbody>
              {listed.map((s) => (
                <Row key={s.name} sensor={s} chosen={s.name === chosen} now={store.shownAt.value} onChoose={() => store.choose(s.name === chosen ? "" : s.name)} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  );
}

function Row(props: { readonly sensor: Sensor; readonly chosen: boolean; readonly now: number; readonly onChoose: () => void }): JSX.Element {
  const { sensor: s, chosen, now, onChoose } = props;
  const [tone, word] = states[s.status];
  return (
    <tr class={chosen ? "chosen" : ""}>
      <th scope="row">
        <button type="button" aria-pressed={chosen} title={`${printable(s.source)}, NetLyra ${printable(s.version)}`} onClick={onChoose}>
          <FromPacket text={s.name} />
        </button>
      </th>
      <td class={`tone-${tone}`}>
        <span class={`dot shape-${tone}`} aria-hidden="true" /> {word}
      </td>
      <td class="numeric num">{s.status === "silent" ? "–" : text(bitsPerSecond(s.byte_rate))}</td>
      <td class="numeric num">{s.status === "silent" ? "–" : text(packetsPerSecond(s.packet_rate))}</td>
      <td class="numeric num">{count(s.active)}</td>
      <td class={`numeric num ${s.lost > 0 ? "tone-warn" : ""}`}>
        {s.lost > 0 && <span class="dot shape-warn" aria-hidden="true" />} {shortCount(s.lost)}
      </td>
      <td>{s.detector === "" ? "nobody" : <><FromPacket text={s.detector} />, {percent(s.learning)} learned</>}</td>
      <td class="numeric">
        <Age at={parseTime(s.seen_ts)} now={now} />
      </td>
    </tr>
  );
}
