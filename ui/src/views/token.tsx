import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { Store } from "../state/store.ts";

/** Asks for the token that the program demands when it listens beyond this machine. */
export function TokenForm({ store }: { readonly store: Store }): JSX.Element {
  const token = useSignal("");
  const problem = useSignal("");
  const busy = useSignal(false);
  const submit = async (e: Event): Promise<void> => {
    e.preventDefault();
    busy.value = true;
    problem.value = (await store.unlock(token.value)) ?? "";
    busy.value = false;
  };
  return (
    <main class="locked">
      <form class="panel token" onSubmit={(e) => void submit(e)}>
        <h2>This NetLyra asks for its token</h2>
        <p>It is the one that the program was started with (--token, or NETLYRA_TOKEN).</p>
        <label for="token">Token</label>
        <input
          id="token"
          type="password"
          autocomplete="current-password"
          required
          value={token.value}
          aria-invalid={problem.value !== ""}
          aria-describedby="token-problem"
          onInput={(e) => (token.value = e.currentTarget.value)}
        />
        <p id="token-problem" class="problem" role="alert">
          {problem.value}
        </p>
        <button type="submit" class="primary" disabled={busy.value}>
          Open
        </button>
      </form>
    </main>
  );
}
