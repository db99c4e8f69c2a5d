// The timeline: a lane for each of the most frequent classes, darker where the class is more probable.

const LANES = 5;
const LIGHT = ["#0b63a8", "#b3470a", "#2f7d32", "#8a3fa0", "#8a6d00"];
const DARK = ["#6cb6ff", "#ff9d4d", "#7bd07f", "#d79be8", "#e3c34a"];
const dark = matchMedia("(prefers-color-scheme: dark)");

export class Timeline {
  constructor(canvas, seek) {
    this.canvas = canvas;
    this.windows = [];
    this.length = 1;
    this.chosen = -1;
    this.time = null;
    this.recoloured = () => {};
    canvas.addEventListener("click", (event) => seek(this.windowAt(event.offsetX / canvas.clientWidth * this.length)));
    canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity };
      if (!(event.key in steps) || !this.windows.length) return;
      event.preventDefault();
      seek(Math.min(Math.max(this.chosen + steps[event.key], 0), this.windows.length - 1));
    });
    new ResizeObserver(() => this.draw()).observe(canvas);
    dark.addEventListener("change", () => { this.draw(); this.recoloured(); });
  }

  // The window whose middle is nearest to a time.
  windowAt(time) {
    let best = -1, least = Infinity;
    this.windows.forEach(([start, end], number) => {
      const distance = Math.abs((start + end) / 2 - time);
      if (distance < least) [best, least] = [number, distance];
    });
    return best;
  }

  // The most frequent best classes, with their colours.
  lanes() {
    const counts = new Map();
    for (const [, , labels] of this.windows) counts.set(labels[0], (counts.get(labels[0]) || 0) + 1);
    const labels = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a)).slice(0, LANES);
    const colours = dark.matches ? DARK : LIGHT;
    return labels.map((label, number) => [label, colours[number]]);
  }

  draw() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    pen.scale(scale, scale);
    pen.font = "12px system-ui, sans-serif";
    const lanes = this.lanes(), foot = 18, step = (height - foot) / Math.max(lanes.length, 1);
    const x = (time) => time / this.length * width;
    lanes.forEach(([label, colour], lane) => {
      pen.fillStyle = style.getPropertyValue("--line");
      pen.globalAlpha = 0.5;
      pen.fillRect(0, lane * step + 2, width, step - 4);
      pen.fillStyle = colour;
      this.windows.forEach(([start, end, labels, scores, none], number) => {
        const place = labels.indexOf(label);
        if (place < 0) return;
        // Windows overlap: each is drawn until the next one starts.
        const until = number + 1 < this.windows.length ? this.windows[number + 1][0] : end;
        pen.globalAlpha = scores[place] * (none ? 0.35 : 1);
        pen.fillRect(x(start), lane * step + 2, Math.max(x(until) - x(start), 0.5), step - 4);
      });
    });
    pen.globalAlpha = 1;
    pen.fillStyle = style.color;
    this.axis(pen, x, width, height);
    const [start, end] = this.windows[this.chosen] || [];
    if (start !== undefined) {
      pen.strokeStyle = style.color;
      pen.lineWidth = 2;
      pen.strokeRect(x(start) + 1, 1, Math.max(x(end) - x(start) - 2, 2), height - foot - 2);
    }
    if (this.time !== null) pen.fillRect(x(this.time) - 1, 0, 2, height - foot);
  }

  axis(pen, x, width, height) {
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
    const step = steps.find((one) => one / this.length * width >= 56) || 7200;
    for (let time = 0; time <= this.length; time += step) {
      const text = this.length >= 60 ? `${Math.floor(time / 60)}:${String(time % 60).padStart(2, "0")}` : `${time} s`;
      pen.fillText(text, Math.min(Math.max(x(time) - 8, 0), width - 34), height - 4);
    }
  }
}
