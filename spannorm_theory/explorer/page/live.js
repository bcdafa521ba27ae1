// The reader's own placement: a worker with Python, what it is asked, and what it answers.

const EXAMPLE = `@st.placement("mine", title="My placement", source="this page")
def mine(x, net):
    y = net.norm(net.add(x, net.attention(net.norm(x))))
    return net.add(y, net.ffn(net.norm(y)))
`;
const EXAMPLE_ARCH = "mine unit depth=48 width=1024 heads=16 tokens=256 activation=gelu mask=none";
const RUNTIME = document.querySelector("meta[name=runtime]").content;

const theory = { worker: null, asked: new Map(), next: 0 };

function startTheory(say) {
  theory.worker = new Worker("worker.mjs", { type: "module" });
  theory.worker.onmessage = ({ data }) => {
    if (data.progress) { say(data.progress); return; }
    theory.asked.get(data.id)(data.answer);
    theory.asked.delete(data.id);
  };
  theory.worker.onerror = event =>
    stopTheory(`the worker could not start: ${event.message || "see the console"}`);
  theory.worker.postMessage({ runtime: new URL(RUNTIME, location.href).href });
}

// End the worker; whoever waits for an answer is told why there is none.
function stopTheory(reason) {
  theory.worker?.terminate();
  theory.worker = null;
  for (const answer of theory.asked.values()) answer({ error: reason });
  theory.asked.clear();
}

function ask(question, request) {
  return new Promise(resolve => {
    const id = theory.next++;
    theory.asked.set(id, resolve);
    theory.worker.postMessage({ id, question, request });
  });
}

function say(text, kind = "") {
  const element = document.getElementById("status");
  element.textContent = text;
  element.className = kind;
}

// Formulas, then curves, then the diagram, each shown as soon as it is there.
async function runTheory(state, show) {
  const request = { code: state.code ?? EXAMPLE, arch: state.arch ?? EXAMPLE_ARCH };
  const buttons = [document.getElementById("run"), document.getElementById("stop")];
  buttons[0].disabled = true;
  buttons[1].hidden = false;
  try {
    if (!theory.worker) startTheory(say);
    const curves = await step("the theory of every layer", "curves", request);
    show({ ...curves, title: curves.arch });
    const found = await step("recursion and laws", "formulas", request);
    document.getElementById("derived").innerHTML = `<p class="note">${escaped(curves.arch)}</p>`
      + formulaParts(found).replaceAll("<details>", "<details open>");
    say("drawing the block …");
    const { svg } = await ask("diagram", request);
    const derived = document.getElementById("derived");
    if (svg) derived.insertAdjacentHTML("beforeend", picture(svg, "your placement"));
    say("done: your design is curve Y above", "good");
  } catch (error) {
    say(error.message, "bad");
  } finally {
    buttons[0].disabled = false;
    buttons[1].hidden = true;
  }
}

async function step(words, question, request) {
  say(`${words} …`);
  const answer = await ask(question, request);
  if (answer.error) throw new Error(answer.error);
  return answer;
}

function prepareLive(state, show) {
  const code = document.getElementById("code"), arch = document.getElementById("arch");
  code.value = state.code ?? EXAMPLE;
  arch.value = state.arch ?? EXAMPLE_ARCH;
  if (location.protocol === "file:") {
    document.getElementById("run").disabled = true;
    say("This page was opened as a file, where browsers start no worker. Serve its folder to use this part: "
      + "python -m http.server");
  }
  document.getElementById("run").onclick = () => runTheory(state, show);
  document.getElementById("stop").onclick = () => stopTheory("stopped");
}
