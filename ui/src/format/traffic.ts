// How the traffic's rates are written.
import type { Measure } from "../state/traffic.ts";
import { bitsPerSecond, packetsPerSecond, text, type Quantity } from "./units.ts";

/** Stands where nothing is known. */
export const unknown = "–";

/** A rate of what is measured, which for bytes is in bits. */
export function rate(perSecond: number, measure: Measure): Quantity {
  return measure === "bytes" ? bitsPerSecond(perSecond) : packetsPerSecond(perSecond);
}

export function rateText(perSecond: number, measure: Measure): string {
  return text(rate(perSecond, measure));
}
