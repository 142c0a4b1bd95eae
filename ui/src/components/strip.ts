// A strip chart on a canvas: stacked columns that move left as time goes by. What has been drawn is moved by whole pixels, and
// only the columns that have changed are drawn again: that costs a fraction of drawing all of it sixty times a second.
import { niceScale } from "../format/units.ts";
import { binMs, gapMs, windowMs, type Measure, type Traffic } from "../state/traffic.ts";

export interface StripColors {
  readonly series: readonly string[]; // as `series` of the traffic, then what is not told apart
  readonly gap: string;
  readonly gapLine: string;
  /** Lines before the earliest numbers. */
  readonly before: string;
}

export interface Scale {
  /** The value at the upper edge: bytes/s or packets/s. */
  readonly top: number;
  readonly steps: number;
}

/** Hatching of gaps: every so many columns a line. */
const hatch = 5;

export class Strip {
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  readonly #traffic: Traffic;
  readonly #onScale: (s: Scale) => void;
  #colors: StripColors = { series: [], gap: "#888", gapLine: "#999", before: "#aaa" };
  #measure: Measure = "bytes";
  #scale: Scale = { top: 1, steps: 5 };
  #column = Number.NaN; // number of the rightmost, counted from the epoch; NaN: nothing is drawn
  #bin = Number.NaN; // in which the scale was chosen

  constructor(canvas: HTMLCanvasElement, traffic: Traffic, onScale: (s: Scale) => void) {
    const context = canvas.getContext("2d");
    if (context === null) throw new Error("this browser has no 2D canvas");
    this.#canvas = canvas;
    this.#context = context;
    this.#traffic = traffic;
    this.#onScale = onScale;
  }

  setColors(colors: StripColors): void {
    this.#colors = colors;
    this.#column = Number.NaN;
  }

  setMeasure(measure: Measure): void {
    this.#measure = measure;
    this.#bin = Number.NaN;
    this.#column = Number.NaN;
  }

  /** Makes the canvas as many device pixels as it covers. */
  resize(width: number, height: number): void {
    if (this.#canvas.width === width && this.#canvas.height === height) return;
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#column = Number.NaN;
  }

  /** Brings the picture to a time in ms of the server's clock. */
  draw(now: number): void {
    const { width, height } = this.#canvas;
    if (width === 0 || height === 0) return;
    this.#chooseScale(now);
    const columnMs = windowMs / width;
    const column = Math.floor(now / columnMs);
    const moved = column - this.#column;
    const changed = Math.floor(this.#changedSince(now) / columnMs);
    let from = Math.min(this.#column + 1, changed);
    if (!(moved >= 0 && moved < width)) {
      from = column - width + 1;
    } else if (moved > 0) {
      this.#shift(moved);
    }
    this.#column = column;
    for (let c = Math.max(from, column - width + 1); c <= column; c++) {
      this.#drawColumn(c, c - column + width - 1, c * columnMs, now);
    }
  }

  #shift(columns: number): void {
    this.#context.globalCompositeOperation = "copy";
    this.#context.drawImage(this.#canvas, -columns, 0);
    this.#context.globalCompositeOperation = "source-over";
  }

  /** Since when the picture is out of date. While nothing is heard, the gap grows from the last numbers on. */
  #changedSince(now: number): number {
    const dirty = this.#traffic.takeDirty();
    const last = this.#traffic.lastAt;
    const since = now - last > gapMs ? Math.min(dirty, last) : dirty;
    return Math.floor(since / binMs) * binMs;
  }

  #drawColumn(column: number, x: number, at: number, now: number): void {
    const ctx = this.#context;
    const { height } = this.#canvas;
    ctx.clearRect(x, 0, 1, height);
    const rates = this.#traffic.ratesAt(at, this.#measure);
    if (rates === null) {
      const color = this.#unknownColor(column, at, now);
      if (color === "") return;
      ctx.fillStyle = color;
      ctx.fillRect(x, 0, 1, height);
      return;
    }
    let sum = 0;
    let bottom = height;
    for (let i = 0; i < rates.length; i++) {
      sum += rates[i as 0 | 1 | 2 | 3 | 4];
      const top = Math.round(height - Math.min(1, sum / this.#scale.top) * height);
      // What there is at all can be seen.
      const y = sum > 0 && top === height ? height - 1 : top;
      if (y < bottom) {
        ctx.fillStyle = this.#colors.series[i] ?? "#888";
        ctx.fillRect(x, y, 1, bottom - y);
        bottom = y;
      }
    }
  }

  /** Nothing is known of a time: because it is before the earliest numbers, because of a gap, or because it is a moment ago. */
  #unknownColor(column: number, at: number, now: number): string {
    const { firstAt, lastAt } = this.#traffic;
    const onLine = column % hatch === 0;
    if (!(at >= firstAt)) return onLine ? this.#colors.before : "";
    if (at + binMs < lastAt || now - lastAt > gapMs) return onLine ? this.#colors.gapLine : this.#colors.gap;
    return "";
  }

  /** Steps the scale, at most once a bin, so that it stands still while nothing outgrows it. */
  #chooseScale(now: number): void {
    const bin = Math.floor(now / binMs);
    if (bin === this.#bin) return;
    this.#bin = bin;
    // Bits have the round numbers, so the scale is chosen in them.
    const unit = this.#measure === "bytes" ? 8 : 1;
    const peak = this.#traffic.peak(now, this.#measure).rate * unit;
    const { top, steps } = niceScale(Math.max(peak * 1.05, this.#measure === "bytes" ? 1000 : 10));
    if (top / unit === this.#scale.top) return;
    this.#scale = { top: top / unit, steps };
    this.#column = Number.NaN;
    this.#onScale(this.#scale);
  }
}
