// Ask the explorer's worker in Node: node answers.mjs PAGE RUNTIME, with a list of [question, request] on
// standard input; prints the answers and the seconds that each took, the start first.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [page, runtime] = process.argv.slice(2);
const { start } = await import(pathToFileURL(`${page}/engine.mjs`));
const { loadPyodide } = await import(pathToFileURL(`${runtime}/pyodide.mjs`));

const began = performance.now(), seconds = [], answers = [];
const bundle = new Uint8Array(readFileSync(`${page}/theory.zip`));
const theory = await start({ loadPyodide, indexURL: `${runtime}/`, bundle });
seconds.push((performance.now() - began) / 1000);
for (const [question, request] of JSON.parse(readFileSync(0, "utf-8"))) {
  const asked = performance.now();
  answers.push(await theory(question, request));
  seconds.push((performance.now() - asked) / 1000);
}
console.log(JSON.stringify({ answers, seconds }));
