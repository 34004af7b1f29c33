/* The controls of a page's model. `root` is the element that this script lies in; nothing moves
   until a control is used. Texts of others, such as names of classes, become text nodes alone. */

const spec = JSON.parse(root.querySelector("script[type='application/json']").textContent);
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** A new element with its properties, attributes ("aria-..." and "role") and content. */
function make(tag, properties = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (name.includes("-") || name === "role" || name === "list") element.setAttribute(name, value);
    else element[name] = value;
  element.append(...content);
  return element;
}

const button = (text, act, properties = {}) => make("button", { type: "button", onclick: act, ...properties }, text);

/** Controls of one kind under a heading. */
const group = (title, ...content) =>
  make("fieldset", {}, make("legend", {}, title), make("div", { className: "row" }, ...content));

/** Puts the parts into the page, in the columns of that name in the style. */
const layOut = (name, ...parts) => root.append(make("div", { className: `parts ${name}` }, ...parts));

/** Buttons of which one is chosen; `act` gets its value. Many become a list. */
function choice(title, options, act) {
  if (options.length > 14) {
    const items = options.map(([text], index) => make("option", { value: index }, text));
    const list = make("select", { onchange: () => act(options[list.value][1]), "aria-label": title }, ...items);
    return Object.assign(group(title, list), { show: value => { list.value = options.findIndex(option => option[1] === value); } });
  }
  const buttons = options.map(([text, value]) => button(text, () => { shown.show(value); act(value); }));
  const shown = Object.assign(group(title, ...buttons), {
    buttons,
    show: value => buttons.forEach((each, index) => each.setAttribute("aria-pressed", options[index][1] === value)),
  });
  shown.show(options[0][1]);
  return shown;
}

/** A named slider. */
function slider(title, { min, max, step, value }, act) {
  const range = make("input", { type: "range", min, max, step, value, oninput: () => act(Number(range.value)) });
  const label = make("label", { className: "slider" }, make("span", {}, title), range);
  return Object.assign(label, { range, show: number => { range.value = number; } });
}

/** A canvas that shows pixels [H, W, C] in [0, 1]; grey ones in all three colours. */
class Picture {
  constructor([height, width, channels], properties = {}) {
    Object.assign(this, { height, width, channels });
    this.canvas = make("canvas", { width, height, role: "img", ...properties });
    this.canvas.style.aspectRatio = `${width} / ${height}`;
    if (Math.max(width, height) < 100) this.canvas.classList.add("pixels");
    this.context = this.canvas.getContext("2d");
    this.data = this.context.createImageData(width, height);
  }

  /** Draws pixels; `tint(i)` may give the colour [r, g, b, share] that pixel i is mixed with. */
  draw(pixels, tint = () => null) {
    const { data } = this.data, { channels } = this;
    for (let i = 0; i < this.height * this.width; i++) {
      const mixed = tint(i), share = mixed ? mixed[3] : 0;
      for (let k = 0; k < 3; k++) {
        const value = 255 * pixels[i * channels + (channels === 3 ? k : 0)];
        data[4 * i + k] = mixed ? (1 - share) * value + share * mixed[k] : value;
      }
      data[4 * i + 3] = 255;
    }
    this.context.putImageData(this.data, 0, 0);
  }
}

/** Calls `act(seconds)` once a frame from play to pause; the button says which is next. */
class Player {
  constructor(words, act) {
    this.words = words;
    this.act = act;
    this.frame = 0;
    this.button = button(words[0], () => (this.frame ? this.pause() : this.play()), { className: "main" });
  }

  play() {
    if (this.frame) return;
    let last = performance.now();
    const next = now => {
      this.frame = requestAnimationFrame(next);
      this.act(Math.min(Math.max(now - last, 0) / 1000, 0.25));
      last = now;
    };
    this.frame = requestAnimationFrame(next);
    this.button.textContent = this.words[1];
    announce("off"); // a screen reader would have words for every frame
  }

  pause() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.button.textContent = this.words[0];
    announce("polite");
  }
}

/** Whether changes of the model's words are read out: "polite" or "off". */
function announce(how) {
  root.querySelectorAll("output").forEach(words => words.setAttribute("aria-live", how));
}

/** The place of a pointer on a canvas, from 0 to 1 across and down. */
function placeOf(event, canvas) {
  const box = canvas.getBoundingClientRect();
  return [clip((event.clientX - box.left) / box.width), clip((event.clientY - box.top) / box.height)];
}

/** Calls `act(event)` for a pressed pointer on a canvas, from its press on. */
function onDrag(canvas, act, end = () => {}) {
  canvas.addEventListener("pointerdown", event => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    act(event);
  });
  canvas.addEventListener("pointermove", event => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    const all = event.getCoalescedEvents?.() ?? [];
    (all.length ? all : [event]).forEach(each => act(each));
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, end);
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Calls `act(across, down)` for arrow keys on an element. */
function onArrows(element, act) {
  element.addEventListener("keydown", event => {
    if (!(event.key in ARROWS)) return;
    event.preventDefault();
    act(...ARROWS[event.key]);
  });
}

/** Test images as buttons; `act` gets the index of the one that is pressed. */
function thumbnails(images, shape, act) {
  const bytes = bytesOf(images), size = shape[0] * shape[1] * shape[2];
  const all = Array.from({ length: bytes.length / size }, (_, index) =>
    Float32Array.from(bytes.subarray(index * size, (index + 1) * size), byte => byte / 255));
  const buttons = all.map((pixels, index) => {
    const picture = new Picture(shape, { "aria-hidden": true });
    picture.draw(pixels);
    return button(picture.canvas, () => act(index), { className: "thumbnail", "aria-label": `test image ${index + 1}` });
  });
  return { all, buttons };
}

/** A row of frames in one picture, walked through by hand or by itself. */
function walkFrames() {
  const { shape, num, frames, seconds } = spec, [height, width] = shape;
  const picture = new Picture(shape, { "aria-label": "generated image" });
  const sheet = new Image();
  let at = 0;
  const show = () => picture.context.drawImage(
    sheet, 0, Math.floor(at) * height, width, height, 0, 0, width, height);
  const where = slider("place on the tour", { min: 0, max: num - 1, step: 1, value: 0 }, value => {
    player.pause();
    at = value;
    show();
  });
  const player = new Player(["Play", "Pause"], elapsed => {
    at = (at + elapsed * (still.matches ? 1 : num / seconds)) % num;
    where.show(Math.floor(at));
    show();
  });
  sheet.onload = show;
  sheet.setAttribute("src", `data:${spec.type};base64,${frames}`);
  layOut("net", make("div", { className: "stage" }, picture.canvas),
    make("div", { className: "panel" }, group("Tour", player.button, where)));
  return { player, picture, place: () => Math.floor(at), sheet };
}

/** The axis of a plane that is a random direction, and no latent variable. */
const RANDOM = -1;

/** Codes by hand, and the image that a decoder makes of them. */
function exploreDecoder() {
  const arrays = arraysOf(root.querySelector("script[type='text/plain']").textContent, spec.precision, spec.sizes);
  const decoder = new Decoder(spec, arrays), { shape, order, arc, classes, dots } = spec;
  const size = order.length, points = dots ? arrays[dots.array] : null, extent = 3;
  const randomCode = () => Float32Array.from({ length: size }, () => normal(Math.random));
  let code = new Float32Array(size), label = 0;
  const axes = [...(points ? order.slice(0, 2).sort((a, b) => a - b) : [RANDOM, RANDOM])], directions = [];

  const picture = new Picture(shape, { "aria-label": "decoded image" });
  const words = make("output", {});
  const pad = make("canvas", { width: 440, height: 440, tabIndex: 0, className: "pad", role: "application" });
  const backdrop = make("canvas", { width: 440, height: 440 });
  // The colours of the page's figures, as far as they go.
  const tab10 = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd",
    "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"];
  const hue = of => classes.length > tab10.length ? `hsl(${360 * of / classes.length} 65% 50%)` : tab10[of];
  const toPad = value => 220 + 200 * value / extent;
  const coordinate = (of, k) => dot(directions[k], of) / dot(directions[k], directions[k]);

  /** The directions of the plane: of latent variables, or random with half a code's usual length.

      The first of two random ones is that of the code, so that the plane passes through it. */
  function direct() {
    axes.forEach((axis, k) => {
      directions[k] = axis === RANDOM ? randomCode() : new Float32Array(size);
      if (axis !== RANDOM) directions[k][axis] = 1;
    });
    if (axes[0] === RANDOM && axes[1] === RANDOM && dot(code, code)) directions[0] = code;
    axes.forEach((axis, k) => {
      if (axis !== RANDOM) return;
      const part = k || axes[1] !== RANDOM ? dot(directions[k], directions[1 - k]) / dot(directions[1 - k], directions[1 - k]) : 0;
      const free = directions[k].map((value, i) => value - part * directions[1 - k][i]);
      const scale = Math.sqrt(size / dot(free, free)) / 2;
      directions[k] = free.map(value => scale * value);
    });
  }

  /** The code moved within the plane. */
  function inPlane(x, y) {
    const [dx, dy] = [near(x) - coordinate(code, 0), near(y) - coordinate(code, 1)];
    set(code.map((value, i) => value + dx * directions[0][i] + dy * directions[1][i]));
  }

  function drawBackdrop() {
    const context = backdrop.getContext("2d"), ink = getComputedStyle(root).color;
    context.clearRect(0, 0, 440, 440);
    context.strokeStyle = ink;
    context.globalAlpha = 0.25;
    context.beginPath();
    for (const radius of [1, 2, 3]) {
      context.moveTo(220 + 200 * radius / extent, 220);
      context.arc(220, 220, 200 * radius / extent, 0, 2 * Math.PI);
    }
    context.moveTo(0, 220); context.lineTo(440, 220);
    context.moveTo(220, 0); context.lineTo(220, 440);
    context.stroke();
    if (!points) return;
    context.globalAlpha = 0.55;
    dots.labels.forEach((of, index) => {
      const each = points.subarray(index * size, (index + 1) * size);
      context.fillStyle = classes.length > 1 ? hue(of) : ink;
      context.beginPath();
      context.arc(toPad(coordinate(each, 0)), toPad(-coordinate(each, 1)), 3.5, 0, 2 * Math.PI);
      context.fill();
    });
  }

  function drawPad() {
    const context = pad.getContext("2d"), style = getComputedStyle(root);
    context.clearRect(0, 0, 440, 440);
    context.drawImage(backdrop, 0, 0);
    const [across, up] = [coordinate(code, 0), coordinate(code, 1)], [x, y] = [toPad(across), toPad(-up)];
    context.lineWidth = 4;
    context.strokeStyle = style.getPropertyValue("--tint");
    context.beginPath();
    context.arc(x, y, 11, 0, 2 * Math.PI);
    context.stroke();
    pad.setAttribute("aria-label",
      `plane of the code: across ${across.toFixed(1)}, up ${up.toFixed(1)}; arrow keys move`);
  }

  function render() {
    picture.draw(decoder.decode(code, label));
    if (size > 1) drawPad();
    for (const each of sliders) each.show(code[each.axis]);
    words.textContent = `|z| = ${Math.sqrt(dot(code, code)).toFixed(1)}; usual is ${Math.sqrt(size).toFixed(1)}`;
  }

  function set(next) {
    player.pause();
    code = Float32Array.from(next);
    render();
  }

  const moved = (axis, value) => { const next = code.slice(); next[axis] = value; set(next); };
  const sliders = order.map(axis => Object.assign(
    slider(`latent ${axis}`, { min: -extent, max: extent, step: 0.01, value: 0 }, value => moved(axis, value)), { axis }));
  const near = number => Math.min(Math.max(number, -extent), extent);
  onDrag(pad, event => {
    const [x, y] = placeOf(event, pad);
    inPlane((440 * x - 220) / 200 * extent, (220 - 440 * y) / 200 * extent);
  });
  onArrows(pad, (across, down) => inPlane(coordinate(code, 0) + 0.1 * across, coordinate(code, 1) - 0.1 * down));

  const ends = [0, 1].map(index => {
    const end = { code: randomCode(), picture: new Picture(shape, { "aria-hidden": true }), label: 0 };
    const name = "AB"[index];
    end.show = () => end.picture.draw(decoder.decode(end.code, label));
    end.button = button(end.picture.canvas, () => set(end.code), { className: "thumbnail", "aria-label": `go to code ${name}` });
    end.keep = button(`Keep as ${name}`, () => { player.pause(); end.code = code.slice(); end.show(); });
    return end;
  });
  let part = 0, direction = 1, waited = 0;
  function walk(t) {
    part = t;
    code = between(ends[0].code, ends[1].code, t, arc);
    where.show(t);
    render();
  }
  const where = slider("", { min: 0, max: 1, step: 0.01, value: 0 }, t => { player.pause(); walk(t); });
  where.range.setAttribute("aria-label", "place on the walk from A to B");
  const player = new Player(["Play", "Pause"], elapsed => {
    waited += elapsed;
    if (still.matches && waited < 1) return;
    const next = part + direction * (still.matches ? 0.1 : waited / 4);
    waited = 0;
    if (next > 1 || next < 0) direction = -direction;
    walk(clip(next));
  });

  const controls = [];
  const stage = [picture.canvas, words];
  if (spec.conditional) controls.push(choice("Class", classes.map((name, index) => [name, index]), value => {
    label = value;
    ends.forEach(end => end.show());
    render();
  }));
  controls.push(group("Code", button("New random code", () => {
    code = randomCode();
    direct();
    set(code);
  }, { className: "main" }),
    button("Zero", () => set(new Float32Array(size)))));
  if (spec.images) {
    const { buttons } = thumbnails(spec.images, shape, index => {
      label = spec.conditional ? dots.labels[index] : 0;
      controls[0].show?.(label);
      ends.forEach(end => end.show());
      set(points.subarray(index * size, (index + 1) * size));
    });
    controls.push(group("Codes of test images", ...buttons));
    ends.forEach((end, index) => { if ((index + 1) * size <= points.length) end.code = points.slice(index * size, (index + 1) * size); });
  }
  const plane = [];
  if (size > 1) plane.push(pad);
  if (size > 2) {
    const names = [["random", RANDOM], ...order.map(axis => [`latent ${axis}`, axis])];
    const lists = axes.map((_, k) => make("select", {
      onchange: event => { axes[k] = Number(event.target.value); direct(); drawBackdrop(); drawPad(); },
    }, ...names.map(([text, axis]) => make("option", { value: axis, selected: axis === axes[k] }, text))));
    const turn = button("Turn the plane about the code", () => {
      axes.fill(RANDOM);
      lists.forEach(list => { list.value = RANDOM; });
      direct();
      drawBackdrop();
      render();
    });
    plane.push(make("div", { className: "row" }, make("label", {}, "across ", lists[0]), make("label", {}, "up ", lists[1]), turn));
  }
  if (points && classes.length > 1 && classes.length <= 20)
    plane.push(make("div", { className: "row legend" }, ...classes.map((name, index) =>
      Object.assign(make("span", {}, name), { style: `--dot: ${hue(index)}` }))));
  const [first, rest] = [sliders.slice(0, size > 12 ? 8 : size), sliders.slice(size > 12 ? 8 : size)];
  controls.push(group("Walk between two codes", make("div", { className: "ends" }, ends[0].button, where, ends[1].button),
    player.button, ends[0].keep, ends[1].keep));
  const bottom = [make("div", { className: "sliders" }, ...first)];
  if (rest.length) bottom.push(make("details", {}, make("summary", {}, `${rest.length} more latent variables`),
    make("div", { className: "sliders" }, ...rest)));

  layOut(plane.length ? "decoder" : "net", make("div", { className: "stage" }, ...stage),
    ...(plane.length ? [make("div", { className: "stage" }, ...plane)] : []),
    make("div", { className: "panel" }, ...controls),
    Object.assign(group("Latent variables", ...bottom), { className: "wide" }));
  ends.forEach(end => end.show());
  direct();
  if (size > 1) drawBackdrop();
  if (points) code = points.slice(0, size);
  if (points && spec.conditional) { label = dots.labels[0]; controls[0].show(label); ends.forEach(end => end.show()); }
  if (!points) code = directions[0].map(value => 2 * value);
  render();
  if (size > 1)
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { drawBackdrop(); drawPad(); });
  return { decoder, player, picture, pad, code: () => code, set, arrays };
}

/** The Gibbs chain of a net, its pixels and its class held where the visitor wants. */
function exploreNet() {
  const arrays = arraysOf(root.querySelector("script[type='text/plain']").textContent, spec.precision, spec.sizes);
  const net = new Net(spec, arrays), { shape, classes, binarize } = spec, [height, width, channels] = shape;
  const uniform = Math.random, numPixels = height * width, accent = [255, 150, 40];
  const held = new Float32Array(net.numVisible).fill(NaN);
  let asked = null, brush = 1, steps = 0, show = "mean", state = net.noise(asked, uniform);
  let average = state.mean.slice(), cursor = [Math.floor(width / 2), Math.floor(height / 2)], colour = [1, 1, 1];

  const picture = new Picture(shape, { tabIndex: 0, className: "draw", role: "application" });
  const side = Math.ceil(Math.sqrt(net.b.length)), rows = Math.ceil(net.b.length / side);
  const units = new Picture([rows, side, 1], { className: "units", "aria-label": "hidden units, lit where on" });
  const words = make("output", {});
  const isHeld = pixel => held[pixel * channels] === held[pixel * channels];

  /** The values of the visible units that the picture has. */
  const shown = () => (show === "mean" ? state.mean : show === "drawn" ? state.visible : average);

  function render() {
    const chosen = shown();
    const focused = picture.canvas.matches(":focus-visible");
    picture.draw(net.toPixels(chosen), pixel => {
      if (focused && pixel === cursor[1] * width + cursor[0]) return [...accent, 0.8];
      return isHeld(pixel) ? [...accent, 0.35] : null;
    });
    const lit = new Float32Array(rows * side);
    lit.set(state.hidden);
    units.draw(lit);
    const num = held.reduce((sum, value) => sum + (value === value), 0) / channels;
    words.textContent = `step ${steps.toLocaleString("en")}${num ? `, ${num} pixels held` : ""}`;
    picture.canvas.setAttribute("aria-label",
      `visible units, ${words.textContent}; arrow keys move a cursor, space draws`);
    if (net.numClasses) {
      const probs = net.posterior(state.below);
      options.buttons?.slice(1).forEach((each, index) => {
        each.style.setProperty("--share", `${100 * probs[index]}%`);
        each.title = `p = ${probs[index].toFixed(3)}`;
      });
    }
  }

  function advance(num) {
    for (let i = 0; i < num; i++) {
      state = net.step(state, asked, held, uniform);
      const mix = Math.max(1 / (steps - begun + 1), 0.02);
      for (let j = 0; j < average.length; j++) average[j] += mix * (state.mean[j] - average[j]);
      steps++;
    }
  }

  let begun = 0;
  function start(next) {
    state = next;
    steps = begun = 0;
    average = state.mean.slice();
    render();
  }

  /** Visible units of pixels, made binary as the model's input is. */
  function visibleOf(pixels) {
    if (net.std || binarize === "none") return net.standardise(pixels);
    return binarize === "threshold" ? pixels.map(x => (x >= 0.5 ? 1 : 0)) : bernoulli(pixels, uniform);
  }

  const withHeld = visible => visible.map((value, i) => (held[i] === held[i] ? held[i] : value));

  /** Puts held pixels into the state that is shown, before the next step. */
  function hold() {
    begun = steps;
    const visible = withHeld(state.visible);
    const below = net.alone ? visible : net.up(visible, uniform);
    state = { ...state, below, visible, mean: withHeld(state.mean) };
    average = withHeld(average);
    render();
  }

  function paint(x, y) {
    const radius = Math.max(1, Math.min(height, width) / 22) * (brush === null ? 1.8 : 1);
    for (let row = Math.floor(y - radius); row <= y + radius; row++)
      for (let column = Math.floor(x - radius); column <= x + radius; column++) {
        const outside = row < 0 || column < 0 || row >= height || column >= width;
        if (outside || Math.hypot(row + 0.5 - y, column + 0.5 - x) > radius) continue;
        for (let k = 0; k < channels; k++) {
          const unit = (row * width + column) * channels + k;
          const value = brush * (channels === 3 ? colour[k] : 1);
          const mean = net.std ? (value - net.mean[unit]) / net.std[unit] : value >= 0.5 ? 1 : 0;
          held[unit] = brush === null ? NaN : mean;
        }
      }
  }

  let last = null;
  onDrag(picture.canvas, event => {
    const [x, y] = placeOf(event, picture.canvas), here = [x * width, y * height];
    const [from, length] = last ? [last, Math.hypot(here[0] - last[0], here[1] - last[1])] : [here, 0];
    for (let i = 0; i <= Math.ceil(2 * length); i++) {
      const part = length ? i / Math.ceil(2 * length) : 0;
      paint(from[0] + part * (here[0] - from[0]), from[1] + part * (here[1] - from[1]));
    }
    last = here;
    hold();
  }, () => { last = null; });
  onArrows(picture.canvas, (across, down) => {
    cursor = [(cursor[0] + across + width) % width, (cursor[1] + down + height) % height];
    render();
  });
  picture.canvas.addEventListener("keydown", event => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    paint(cursor[0] + 0.5, cursor[1] + 0.5);
    hold();
  });
  for (const name of ["focus", "blur"]) picture.canvas.addEventListener(name, render);

  function holdPart(inside) {
    const chosen = shown();
    for (let pixel = 0; pixel < numPixels; pixel++)
      for (let k = 0; k < channels; k++)
        if (inside(Math.floor(pixel / width), pixel % width)) held[pixel * channels + k] = chosen[pixel * channels + k];
    hold();
  }

  const RATES = [1, 2, 5, 10, 30, 60, 200, 1000];
  let rate = still.matches ? 2 : 30, due = 0;
  const speed = slider("", { min: 0, max: RATES.length - 1, step: 1, value: RATES.indexOf(rate) }, index => {
    rate = RATES[index];
    name();
  });
  const name = () => {
    speed.firstChild.textContent = `${rate.toLocaleString("en")} step${rate > 1 ? "s" : ""} a second`;
    speed.range.setAttribute("aria-valuetext", speed.firstChild.textContent);
  };
  name();
  const player = new Player(["Run", "Pause"], elapsed => {
    due = Math.min(due + elapsed * rate, rate);
    if (due < 1) return;
    const begin = performance.now();
    while (due >= 1 && performance.now() - begin < 12) {
      advance(1);
      due--;
    }
    render();
  });
  const stepOnce = button("Step", () => { player.pause(); advance(1); render(); });

  const empty = () => net.standardise(new Float32Array(net.numVisible));
  const { all, buttons } = thumbnails(spec.images, shape, index => start(net.from(withHeld(visibleOf(all[index])), asked, uniform)));
  const options = net.numClasses
    ? choice("Class", [["any", null], ...classes.map((text, index) => [text, index])], value => {
      asked = value;
      if (value !== null) state = { ...state, label: value };
      render();
    })
    : null;
  const tools = choice("Draw on the image, and hold what is drawn",
    [[channels === 3 ? "Paint" : "White", 1], ["Black", 0], ["Release", null]], value => { brush = value; });
  if (channels === 3) {
    const input = make("input", { type: "color", value: "#ffffff", oninput: () => {
      colour = [1, 3, 5].map(at => parseInt(input.value.slice(at, at + 2), 16) / 255);
    } });
    tools.lastChild.append(make("label", {}, "colour ", input));
  }
  tools.lastChild.append(
    button("Hold the top half", () => holdPart(row => row < height / 2)),
    button("Hold the left half", () => holdPart((row, column) => column < width / 2)),
    button("Release all", () => { held.fill(NaN); hold(); }));
  const count = `${net.b.length} hidden units${net.alone ? "" : " on top"}, lit where on; at the start, by how probable that is`;
  layOut("net", make("div", { className: "stage" }, picture.canvas, words, group("Gibbs chain", player.button, stepOnce, speed)),
    make("div", { className: "panel" },
      group("Start from", button("Noise", () => {
        start(net.noise(asked, uniform));
        if (held.some(value => value === value)) hold();
      }), button("The drawing", () => start(net.from(withHeld(empty()), asked, uniform))), ...buttons),
      tools,
      ...(options ? [options] : []),
      choice("Show", [[net.std ? "means" : "probabilities", "mean"], ["drawn units", "drawn"], ["average of 50 steps", "average"]], value => { show = value; render(); }),
      group(count, units.canvas)));
  if (all.length) start(net.from(visibleOf(all[0]), asked, uniform));
  else render();
  return { net, player, picture, held, start, state: () => state, steps: () => steps, arrays };
}

root.explorer = { walk: walkFrames, decoder: exploreDecoder, net: exploreNet }[spec.kind]();
