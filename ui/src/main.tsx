import "./styles/app.css";
import { render } from "preact";
import { Store } from "./state/store.ts";
import { applyTheme } from "./state/theme.ts";
import { App } from "./views/app.tsx";

const root = document.getElementById("app");
if (root === null) throw new Error("index.html has no element #app");
applyTheme();
const store = new Store();
store.start();
render(<App store={store} />, root);
