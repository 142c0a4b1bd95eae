// What a person is told when a request was refused or failed, and what to do about it.
import { APIError, demandsToken } from "../api/rest.ts";

export interface Problem {
  readonly text: string;
  /** Another token would help: the page offers to enter one. */
  readonly token: boolean;
}

const texts = {
  session: "This page is not signed in any more: sessions end after 12 hours, and when NetLyra is started again. Enter the token again.",
  reading: "The token that was entered is for reading only. To decide, enter the full one (--token-file).",
  user:
    "You may look here, but not decide. Without a token, decisions come from root and from the user who started NetLyra: open this page as one " +
    "of them, or start NetLyra with --token-file and enter that token here.",
};

/** What is to be said of an error. It may have to ask the server why. */
export async function problemOf(e: unknown): Promise<Problem> {
  if (e instanceof APIError && e.status === 401) return { text: texts.session, token: true };
  if (e instanceof APIError && e.code === "not_permitted") {
    // With a token it is the token that does not do, else the user.
    const token = await demandsToken().catch(() => false);
    return { text: token ? texts.reading : texts.user, token };
  }
  return { text: e instanceof Error ? e.message : String(e), token: false };
}
