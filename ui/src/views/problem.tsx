import type { JSX } from "preact";
import type { Problem } from "../state/problems.ts";

/** What went wrong, and the way out where there is one. Nothing without a problem. */
export function ProblemNote({ problem, onSignIn }: { readonly problem: Problem | null; readonly onSignIn: () => void }): JSX.Element {
  return (
    <span class="problem" role="alert">
      {problem?.text}
      {problem?.token === true && (
        <>
          {" "}
          <button type="button" class="tool" onClick={onSignIn}>
            Enter the token
          </button>
        </>
      )}
    </span>
  );
}
