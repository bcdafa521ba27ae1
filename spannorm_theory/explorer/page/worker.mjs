// The worker of the page: the first message names the runtime, each further one asks a question.

import { start } from "./engine.mjs";

let theory;

async function load(runtime) {
  const indexURL = runtime.endsWith("/") ? runtime : `${runtime}/`;
  const [{ loadPyodide }, response] = await Promise.all([
    import(`${indexURL}pyodide.mjs`), fetch(new URL("theory.zip", import.meta.url))]);
  if (!response.ok) throw new Error(`theory.zip: ${response.status}`);
  const bundle = await response.arrayBuffer();
  return start({ loadPyodide, indexURL, bundle, say: progress => self.postMessage({ progress }) });
}

self.onmessage = async ({ data }) => {
  if (data.runtime) {
    theory = load(data.runtime);
    theory.catch(() => {}); // whoever asks is told
    return;
  }
  let answer;
  try {
    answer = await (await theory)(data.question, data.request);
  } catch (error) {
    answer = { error: `Python could not be loaded or has ended: ${error.message}` };
  }
  self.postMessage({ id: data.id, answer });
};
