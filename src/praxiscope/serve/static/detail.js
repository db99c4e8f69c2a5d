// The chosen video: its state comes as server-sent events.

import { ask, clock, element, show } from "./client.js";
import { Timeline } from "./timeline.js";

const get = (id) => document.getElementById(id);
const percent = (value) => `${(100 * value).toFixed(1)} %`;
const length = (value) => `${100 * value}%`; // of CSS

export class Detail {
  constructor(about, fail, changed) {
    this.about = about;
    this.fail = fail;
    this.changed = changed;
    this.timeline = new Timeline(get("timeline"), (number) => this.choose(number));
    this.timeline.recoloured = () => this.legend();
    this.player = get("player");
    this.player.addEventListener("timeupdate", () => this.played());
    const act = (id, method, path) => get(id).addEventListener("click", () => this.try(() => ask(this.path(path), { method })));
    act("stop", "POST", "/stop");
    act("again", "POST", "/analyse");
    act("search", "POST", "/similar");
    act("copy", "POST", "/preview");
    get("remove").addEventListener("click", () => this.remove());
    get("correct").addEventListener("submit", (event) => this.correct(event));
    get("why").addEventListener("submit", (event) => {
      event.preventDefault();
      this.try(() => ask(this.path("/why"), { method: "POST", json: { label: get("why-label").value || null } }));
    });
    for (const id of ["from", "to"]) get(id).addEventListener("input", () => this.ofPart());
    show(get("similar"), about.library);
    get("labels").append(...about.labels.map((label) => element("option", { value: label })));
    get("why-label").append(
      element("option", { value: "" }, "the predicted one"),
      ...about.labels.map((label) => element("option", { value: label }, label)),
    );
  }

  path(rest = "") {
    return `api/videos/${this.id}${rest}`;
  }

  async try(action) {
    try {
      await action();
      this.fail("");
    } catch (error) {
      this.fail(error.message);
    }
  }

  open(id) {
    this.close();
    this.id = id;
    this.state = null;
    this.done = {};
    this.timeline.windows = [];
    this.timeline.chosen = -1;
    this.timeline.time = null;
    get("windows").tBodies[0].replaceChildren();
    get("window").textContent = "";
    get("film").replaceChildren();
    get("hits").replaceChildren();
    show(get("why-page"), false);
    show(get("why-link"), false);
    show(get("none"), false);
    show(get("chosen"), true);
    this.events = new EventSource(this.path("/events"));
    this.events.addEventListener("state", (event) => this.show(JSON.parse(event.data)));
    this.events.addEventListener("error", () => this.fail("The server does not answer. Is it still running?"));
    this.events.addEventListener("open", () => this.fail(""));
    this.events.addEventListener("windows", (event) => this.grow(JSON.parse(event.data)));
  }

  close() {
    if (this.events) this.events.close();
    this.events = null;
    this.player.removeAttribute("src");
    this.player.load();
  }

  show(state) {
    const before = this.state;
    this.state = state;
    if (!before) this.begin(state);
    const texts = { queued: "Waiting for its turn", running: "Analysing", done: "Done", failed: `Failed: ${state.error}`, stopped: "Stopped" };
    const busy = state.status === "queued" || state.status === "running";
    setText(get("status"), texts[state.status]);
    show(get("stop"), busy);
    show(get("again"), !busy);
    show(get("progress"), busy);
    get("notes").replaceChildren(...state.notes.map((note) => element("li", {}, note)));
    if (!before || before.thumbs.length !== state.thumbs.length) this.film(state);
    this.play(state);
    this.scores(state);
    this.corrections(state);
    this.why(state);
    this.similar(state);
    if (!before || before.status !== state.status) this.changed();
  }

  begin(state) {
    const { width, height, fps, duration_s: seconds, codec } = state.facts;
    setText(get("name"), state.name);
    setText(get("facts"), `${clock(seconds)} at ${fps.toFixed(3).replace(/\.?0+$/, "")} frames per second, ${width} × ${height}, ${codec}, ${(state.bytes / 1e6).toFixed(1)} MB`);
    this.timeline.length = Math.max(seconds, 0.1);
    get("timeline").setAttribute("aria-valuemax", seconds.toFixed(1));
    this.timeline.draw();
    get("from").max = get("to").max = seconds;
  }

  play(state) {
    const plays = state.facts.playable || state.preview === "done";
    show(this.player, plays);
    show(get("unplayed"), !plays);
    if (plays && !this.player.hasAttribute("src")) this.player.src = this.path("/file");
    const busy = state.preview === "queued";
    get("copy").disabled = busy;
    setText(get("copy-status"), busy ? `Making it: ${Math.round(100 * (state.progress.preview || 0))} %` : state.preview && !plays ? `No copy: ${state.preview}` : "");
  }

  film(state) {
    get("film").replaceChildren(...state.thumbs.map((time, number) => {
      const image = element("img", { src: this.path(`/thumbs/${number}`), alt: `frame at ${time.toFixed(1)} s`, loading: "lazy" });
      const button = element("button", { type: "button", "aria-pressed": "false" }, image, state.facts.duration_s < 60 ? `${time.toFixed(1)} s` : clock(time));
      button.addEventListener("click", () => this.seek(time));
      return button;
    }));
  }

  scores(state) {
    const { answer, spread } = state;
    const verdict = !answer ? "" : answer.none_of_these ? `None of these (best: ${answer.labels[0]})` : answer.labels[0];
    setText(get("verdict"), verdict);
    const rows = !answer ? [] : answer.labels.map((label, number) => {
      const score = answer.scores[number], over = spread[label];
      const bar = element("span"), track = element("span", { className: "track", "aria-hidden": "true" }, bar);
      bar.style.width = length(score);
      if (over) {
        const low = Math.max(0, over[0] - over[1]), high = Math.min(1, over[0] + over[1]), whisker = element("i");
        whisker.style.left = length(low);
        whisker.style.width = length(Math.max(high - low, 0.005));
        track.append(whisker);
      }
      const windows = over ? `${percent(over[0])} ± ${percent(over[1])}` : "–";
      return element("tr", {}, element("th", { scope: "row" }, label), element("td", {}, percent(score), track), element("td", {}, windows));
    });
    get("scores").tBodies[0].replaceChildren(...rows);
    if (answer && answer.none_below) get("verdict").title = `None of these below ${percent(answer.none_below)}`;
  }

  grow({ from, windows }) {
    const { timeline } = this, table = get("windows").tBodies[0];
    if (from === 0) {
      timeline.windows = [];
      table.replaceChildren();
    }
    timeline.windows.splice(from, Infinity, ...windows);
    const rows = windows.map(([start, end, labels, scores, none]) => element("tr", {},
      element("td", {}, start.toFixed(1)), element("td", {}, end.toFixed(1)),
      element("td", {}, none ? `none of these (best: ${labels[0]})` : labels[0]), element("td", {}, percent(scores[0]))));
    table.append(...rows);
    const reached = timeline.windows.at(-1)[1];
    get("progress").value = reached / timeline.length;
    this.legend();
    timeline.draw();
  }

  legend() {
    const shown = this.timeline.lanes().map(([label, colour]) => {
      const mark = element("i");
      mark.style.background = colour;
      return element("li", {}, mark, label);
    });
    get("legend").replaceChildren(...shown);
  }

  choose(number) {
    const found = this.timeline.windows[number];
    if (!found) return;
    const [start, end, labels, scores, none] = found;
    this.timeline.chosen = number;
    const text = `${start.toFixed(1)} to ${end.toFixed(1)} s: ` +
      (none ? "none of these; " : "") + labels.map((label, place) => `${label} ${percent(scores[place])}`).join(", ");
    setText(get("window"), text);
    get("timeline").setAttribute("aria-valuenow", start.toFixed(1));
    get("timeline").setAttribute("aria-valuetext", text);
    get("from").value = start;
    get("to").value = Number(Math.min(end, this.state.facts.duration_s).toFixed(3));
    this.ofPart();
    this.seek(start);
  }

  ofPart() {
    document.querySelector("input[value=part]").checked = true;
  }

  seek(time) {
    if (this.player.hasAttribute("src")) this.player.currentTime = time;
    this.timeline.time = time;
    this.mark(time);
    this.timeline.draw();
  }

  played() {
    if (!this.state) return;
    this.timeline.time = this.player.currentTime;
    this.mark(this.player.currentTime);
    this.timeline.draw();
  }

  // Mark the thumbnail that is nearest to a time.
  mark(time) {
    const times = this.state.thumbs;
    let best = 0;
    times.forEach((one, number) => { if (Math.abs(one - time) < Math.abs(times[best] - time)) best = number; });
    [...get("film").children].forEach((button, number) => button.setAttribute("aria-pressed", String(number === best)));
  }

  corrections(state) {
    get("corrections").replaceChildren(...state.corrections.map((one) => {
      const part = one.start_s === null && one.end_s === null ? "the whole video" : `${one.start_s ?? 0} to ${one.end_s ?? "the end"} s`;
      return element("li", {}, `${one.label}: ${part}`);
    }));
    if (state.corrections.length) {
      const button = element("button", { type: "button" }, "Remove the corrections");
      button.addEventListener("click", () => this.try(() => ask(this.path("/corrections"), { method: "DELETE" })));
      get("corrections").append(element("li", {}, button));
    }
  }

  correct(event) {
    event.preventDefault();
    const part = new FormData(event.target).get("part") === "part";
    const json = { label: get("label").value, start_s: null, end_s: null };
    if (part) {
      json.start_s = Number(get("from").value);
      json.end_s = get("to").value ? Number(get("to").value) : null;
    }
    this.try(() => ask(this.path("/corrections"), { method: "POST", json }));
  }

  why(state) {
    const done = state.why === "done", frame = get("why-page");
    setText(get("why-status"), done || !state.why ? "" : state.why === "queued" ? `Explaining: ${Math.round(100 * (state.progress.why || 0))} %` : `No explanation: ${state.why}`);
    get("why").querySelector("button").disabled = state.why === "queued";
    if (done && this.done.why !== "done") frame.src = get("why-link").href = this.path("/why");
    this.done.why = state.why;
    show(frame, done);
    show(get("why-link"), done);
  }

  similar(state) {
    const done = state.similar === "done";
    setText(get("similar-status"), done || !state.similar ? "" : state.similar === "queued" ? "Searching …" : `No search: ${state.similar}`);
    if (done && this.done.similar !== "done") this.try(async () => this.hits(await ask(this.path("/similar"))));
    this.done.similar = state.similar;
  }

  hits(found) {
    get("hits").replaceChildren(...found.map((hit) => {
      const images = hit.thumbs.map((image, number) => element("img", { src: `data:image/jpeg;base64,${image}`, alt: `frame ${number + 1} of ${hit.id}` }));
      const part = hit.whole ? "" : `, ${hit.start_s.toFixed(1)} to ${hit.end_s.toFixed(1)} s`;
      return element("li", {}, element("div", {}, ...images), element("b", {}, hit.labels.join(", ") || hit.id), ` ${hit.labels.length ? hit.id : ""}${part}, similarity ${hit.similarity.toFixed(3)}`);
    }));
  }

  remove() {
    if (!confirm("Remove this video, its results and its corrections?")) return;
    this.try(async () => {
      await ask(this.path(), { method: "DELETE" });
      this.close();
      show(get("chosen"), false);
      show(get("none"), true);
      this.id = null;
      this.changed();
    });
  }
}

// Screen readers repeat a text that is set again: set only what has changed.
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
