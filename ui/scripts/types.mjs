// Writes src/api/schema.ts: the types of internal/api/openapi.yaml and internal/api/asyncapi.yaml, which are the source of truth.
// With --check it writes nothing and fails if the file is not up to date.
import { readFileSync, writeFileSync } from "node:fs";
import { parse } from "yaml";

const root = new URL("../../", import.meta.url);
const target = new URL("../src/api/schema.ts", import.meta.url);

const openapi = load("internal/api/openapi.yaml");
const asyncapi = load("internal/api/asyncapi.yaml");

function load(path) {
  return parse(readFileSync(new URL(path, root), "utf8"));
}

/** Messages get a suffix: there is an Alert in both descriptions. */
function messageName(name) {
  const schema = asyncapi.components.schemas[name];
  return schema?.properties?.type ? `${name}Message` : name;
}

/** The TypeScript type that a $ref names. `own` says which description it stands in. */
function refName(ref, own) {
  const [file, path] = ref.split("#");
  const name = path.split("/").at(-1);
  return own === asyncapi && file === "" ? messageName(name) : name;
}

function typeOf(schema, own, indent) {
  const base = bareType(schema, own, indent);
  return schema.nullable ? `${base} | null` : base;
}

function bareType(schema, own, indent) {
  if (schema.$ref) return refName(schema.$ref, own);
  if (schema.allOf) return schema.allOf.map((s) => typeOf(s, own, indent)).join(" & ");
  if (schema.oneOf) return schema.oneOf.map((s) => typeOf(s, own, indent)).join(" | ");
  if (schema.enum) return schema.enum.map((v) => JSON.stringify(v)).join(" | ");
  switch (schema.type) {
    case "integer":
    case "number":
      return "number";
    case "string":
      return "string";
    case "boolean":
      return "boolean";
    case "array":
      return `readonly (${typeOf(schema.items, own, indent)})[]`;
    case "object":
      return objectType(schema, own, indent);
    default:
      throw new Error(`no TypeScript type for ${JSON.stringify(schema)}: teach scripts/types.mjs`);
  }
}

function objectType(schema, own, indent) {
  const inner = `${indent}  `;
  const required = new Set(schema.required ?? []);
  const lines = Object.entries(schema.properties ?? {}).flatMap(([name, s]) => [
    ...comment(s, inner),
    `${inner}readonly ${name}${required.has(name) ? "" : "?"}: ${typeOf(s, own, inner)};`,
  ]);
  if (typeof schema.additionalProperties === "object") {
    lines.push(`${inner}readonly [name: string]: ${typeOf(schema.additionalProperties, own, inner)};`);
  }
  return `{\n${lines.join("\n")}\n${indent}}`;
}

function comment(schema, indent) {
  const text = schema.description?.trim().replaceAll(/\s+/g, " ");
  return text ? [`${indent}/** ${text} */`] : [];
}

function declarations(own, nameOf) {
  return Object.entries(own.components.schemas).flatMap(([name, schema]) => [
    ...comment(schema, ""),
    `export type ${nameOf(name)} = ${typeOf(schema, own, "")};`,
    "",
  ]);
}

function union(name, operation) {
  const members = operation.messages.map(({ $ref }) => {
    const message = asyncapi.components.messages[$ref.split("/").at(-1)];
    return refName(message.payload.$ref, asyncapi);
  });
  return [`/** ${operation.summary} */`, `export type ${name} =`, ...members.map((m) => `  | ${m}`)].join("\n") + ";\n";
}

const text = [
  "// Made by scripts/types.mjs from internal/api/openapi.yaml and internal/api/asyncapi.yaml; `npm run types` writes it again.",
  "",
  ...declarations(openapi, (name) => name),
  ...declarations(asyncapi, messageName),
  union("ServerMessage", asyncapi.operations.tell),
  union("ClientMessage", asyncapi.operations.listen),
].join("\n");

if (!process.argv.includes("--check")) {
  writeFileSync(target, text);
} else if (readFileSync(target, "utf8") !== text) {
  console.error("ui/src/api/schema.ts does not say what the API's descriptions say: run `npm run types` in ui/");
  process.exit(1);
}
