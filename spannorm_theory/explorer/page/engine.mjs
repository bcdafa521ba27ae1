// The library in Pyodide, in a browser's worker or in Node.

const PACKAGES = ["numpy", "scipy", "sympy", "pandas", "threadpoolctl"];

// A function of a question's name and its request, both plain values, that answers with a plain value.
//   loadPyodide, indexURL: the runtime's, and the address of its files
//   bundle: bytes of theory.zip
//   say: is told what is being loaded
export async function start({ loadPyodide, indexURL, bundle, say = () => {} }) {
  say("loading Python …");
  const python = await loadPyodide({ indexURL, stderr: () => {} }); // warnings of packages are no answers
  say("loading numpy, scipy, sympy and pandas (some 30 MB, the first time) …");
  await python.loadPackage(PACKAGES, { messageCallback: () => {} });
  python.unpackArchive(bundle, "zip", { extractDir: "/theory" });
  python.runPython("import sys; sys.path.insert(0, '/theory')");
  say("loading the library …");
  const live = python.pyimport("spannorm_theory.explorer.live");
  let drawing = null;
  return async (question, request) => {
    if (question === "diagram") {
      drawing ??= python.loadPackage("matplotlib", { messageCallback: () => {} });
      await drawing;
    }
    return JSON.parse(live.answer(question, JSON.stringify(request)));
  };
}
