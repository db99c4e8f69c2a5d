// The page: adding videos, the list, corrections and training. The chosen video is in detail.js.

import { useCamera } from "./camera.js";
import { ask, clock, element, show, upload } from "./client.js";
import { Detail } from "./detail.js";

const get = (id) => document.getElementById(id);
const fail = (text) => { if (get("message").textContent !== text) get("message").textContent = text; };

async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    fail(error.message);
    return undefined;
  }
}

const about = await attempt(() => ask("api/about"));
if (about) start(about);

function start(about) {
  get("model").textContent = `${about.model}, ${about.labels.length} classes`;
  const detail = new Detail(about, fail, list);

  function open(id) {
    detail.open(id);
    history.replaceState(null, "", `#${id}`);
    list();
  }

  let again = 0;

  async function list() {
    const videos = await attempt(() => ask("api/videos"));
    if (!videos) return;
    show(get("empty"), !videos.length);
    const focused = document.activeElement && document.activeElement.dataset.id;
    get("list").replaceChildren(...videos.map((video) => {
      const found = video.answer ? (video.answer.none_of_these ? "none of these" : video.answer.labels[0]) : video.status;
      const text = `${clock(video.facts.duration_s)}, ${video.status === "failed" ? "failed" : found}`;
      const button = element("button", { type: "button" }, video.name, element("span", { className: "small" }, text));
      button.dataset.id = video.id;
      button.setAttribute("aria-current", String(video.id === detail.id));
      button.addEventListener("click", () => { open(video.id); get("detail").focus(); });
      return element("li", {}, button);
    }));
    clearTimeout(again);
    if (videos.some((video) => ["queued", "running"].includes(video.status))) again = setTimeout(list, 3000);
    if (focused) get("list").querySelector(`[data-id="${focused}"]`)?.focus();
  }

  async function add(file, name, keep = get("keep").checked) {
    fail("");
    if (file.size > about.limits.bytes) {
      fail(`${name} has ${Math.ceil(file.size / 1e6)} MB; the server takes ${Math.floor(about.limits.bytes / 1e6)} MB.`);
      return;
    }
    const bar = element("progress", { max: 1, value: 0, "aria-label": `Upload of ${name}` });
    const row = element("p", { className: "small" }, `Uploading ${name}`, bar);
    get("uploads").append(row);
    const video = await attempt(() => upload(file, name, keep, (part) => { bar.value = part; }));
    row.remove();
    if (video) open(video.id);
  }

  // Of several files, only the last is watched: the others go on by themselves.
  async function addAll(files) {
    for (const file of files) await add(file, file.name, files.length > 1 || get("keep").checked);
  }

  get("file").addEventListener("change", async (event) => {
    await addAll(event.target.files);
    event.target.value = "";
  });
  const drop = get("drop");
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
    });
  }
  document.addEventListener("drop", async (event) => {
    await addAll(event.dataTransfer.files);
  });
  useCamera(fail, add);

  if (about.folder) attempt(async () => {
    const videos = await ask("api/folder");
    get("folder-video").append(...videos.map((video) => element("option", { value: video.id }, video.name)));
    show(get("folder"), videos.length > 0);
  });
  get("folder").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      const video = await ask("api/videos/choose", { method: "POST", json: { id: get("folder-video").value, keep: get("keep").checked } });
      fail("");
      open(video.id);
    });
  });

  async function training() {
    const run = await attempt(() => ask("api/train"));
    if (!run) return;
    const texts = { none: "", running: "Training …", done: `Trained: ${run.run}, in the folder of the server`, failed: "The training run failed." };
    get("train-status").textContent = texts[run.status];
    get("train").disabled = run.status === "running";
    const output = get("train-output");
    show(output, run.status !== "none");
    output.textContent = run.output;
    output.scrollTop = output.scrollHeight;
    if (run.status === "running") setTimeout(training, 1000);
  }
  get("train").addEventListener("click", () => attempt(async () => {
    await ask("api/train", { method: "POST" });
    fail("");
    training();
  }));

  show(get("train"), about.trains);
  training();
  list().then(() => {
    const id = location.hash.slice(1);
    if (get("list").querySelector(`[data-id="${CSS.escape(id)}"]`)) open(id);
  });
}
