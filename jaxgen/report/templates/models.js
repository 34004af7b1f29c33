/* The models of a page, one example at a time: functions of Float32Arrays that touch no document.
   Every draw takes its numbers from `uniform`, () => a number in [0, 1), so it can be repeated. */

/** The bytes of a base64 text. */
function bytesOf(text) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** The number with the bits of an IEEE half: sign, 5 bits of exponent, 10 of fraction. */
function halfOf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

/** Arrays that lie one after the other in a base64 text, little-endian, by their sizes. */
function arraysOf(text, precision, sizes) {
  const bytes = bytesOf(text), num = sizes.reduce((sum, size) => sum + size, 0);
  const view = new DataView(bytes.buffer), numbers = new Float32Array(num);
  for (let i = 0; i < num; i++)
    numbers[i] = precision === "float16" ? halfOf(view.getUint16(2 * i, true)) : view.getFloat32(4 * i, true);
  let start = 0;
  return sizes.map(size => numbers.subarray(start, start += size));
}

/** x W + b, with W [inputs, outputs] row by row; four rows at a time take half as long as one. */
function affine(x, w, b) {
  const y = Float32Array.from(b), num = y.length;
  for (let i = 0; i < x.length; i += 4) {
    const rows = [i, i + 1, i + 2, i + 3].map(row => (row < x.length ? row : 0) * num);
    const [p, q, r, s] = rows.map((_, k) => x[i + k] ?? 0), [first, second, third, fourth] = rows;
    if (p || q || r || s)
      for (let j = 0; j < num; j++)
        y[j] += p * w[first + j] + q * w[second + j] + r * w[third + j] + s * w[fourth + j];
  }
  return y;
}

/** W h + a, with W [outputs, inputs] row by row. */
function affineTransposed(h, w, a) {
  const y = Float32Array.from(a), num = h.length;
  for (let i = 0; i < y.length; i++) {
    const row = i * num;
    let sum = 0;
    for (let j = 0; j < num; j++) sum += w[row + j] * h[j];
    y[i] += sum;
  }
  return y;
}

const sigmoid = x => 1 / (1 + Math.exp(-x));
const softplus = x => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const clip = x => Math.min(Math.max(x, 0), 1);
const ACTIVATIONS = {
  softplus,
  tanh: Math.tanh,
  relu: x => Math.max(x, 0),
  leaky_relu: x => (x > 0 ? x : 0.2 * x),
};

/** exp(x_k) / sum exp(x_i). */
function softmax(x) {
  const largest = Math.max(...x), e = Float32Array.from(x, value => Math.exp(value - largest));
  const sum = e.reduce((total, value) => total + value, 0);
  return e.map(value => value / sum);
}

/** Binary units, each on with its probability. */
const bernoulli = (probs, uniform) => probs.map(p => (uniform() < p ? 1 : 0));

/** A number from N(0, 1): Box and Muller 1958, of two uniform ones. */
function normal(uniform) {
  const length = Math.sqrt(-2 * Math.log(1 - uniform()));
  return length * Math.cos(2 * Math.PI * uniform());
}

/** The index at which the sum of the probabilities passes a uniform number. */
function categorical(probs, uniform) {
  let rest = uniform();
  for (let k = 0; k < probs.length - 1; k++) if ((rest -= probs[k]) < 0) return k;
  return probs.length - 1;
}

/** Codes to pixels in [0, 1], through dense layers; a class adds a vector to the first of them. */
class Decoder {
  constructor(spec, arrays) {
    this.layers = spec.layers.map(([w, b, activation]) => ({ w: arrays[w], b: arrays[b], activation }));
    this.labels = arrays[spec.labels];
    this.output = spec.output;
    this.least = spec.least;
  }

  /** E[x|z, y], one number for each channel of each pixel. */
  decode(code, label) {
    let x = code;
    this.layers.forEach(({ w, b, activation }, index) => {
      x = affine(x, w, b);
      if (index === 0 && this.labels)
        for (let j = 0; j < x.length; j++) x[j] += this.labels[label * x.length + j];
      if (activation) x = x.map(ACTIVATIONS[activation]);
    });
    if (this.output === "sigmoid") return x.map(sigmoid);
    if (this.output === "tanh") return x.map(value => clip(0.5 * Math.tanh(value) + 0.5));
    if (this.output === "clip") return x.map(clip);
    const num = x.length / 2; // logistic: locations, then log scales
    return x.slice(0, num).map((location, i) => {
      const scale = Math.exp(this.least + softplus(x[num + i] - this.least));
      return clip(scale * (softplus(location / scale) - softplus((location - 1) / scale)));
    });
  }
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/** The code a part t of the way from one to another: on a line, or on an arc (White 2016, 2.1). */
function between(from, to, t, arc) {
  const line = from.map((value, i) => (1 - t) * value + t * to[i]);
  if (!arc) return line;
  const lengths = Math.sqrt(dot(from, from) * dot(to, to));
  const angle = Math.acos(Math.min(Math.max(dot(from, to) / (lengths || 1), -1), 1)), sine = Math.sin(angle);
  if (sine < 1e-3 || !lengths) return line;
  const [a, b] = [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine];
  return from.map((value, i) => a * value + b * to[i]);
}

/** An RBM on top of directed layers, none for an RBM alone, as `dbn.Net` of jaxgen. */
class Net {
  constructor(spec, arrays) {
    const layer = ([w, b]) => ({ w: arrays[w], b: arrays[b] });
    this.recognition = spec.recognition.map(layer);
    this.generative = spec.generative.map(layer);
    const [w, a, b, u, c] = spec.top.map(index => arrays[index]);
    Object.assign(this, { w, a, b, u, c });
    this.mean = arrays[spec.mean]; // of Gaussian pixels, by which they are standardised
    this.std = arrays[spec.std];
    this.numClasses = c ? c.length : 0;
  }

  get numVisible() {
    return (this.generative.length ? this.generative[0].b : this.a).length;
  }

  /** Whether the lower side of the top pair are the visible units. */
  get alone() {
    return !this.generative.length;
  }

  /** Visible units of pixels in [0, 1]. */
  standardise(pixels) {
    return this.std ? pixels.map((x, i) => (x - this.mean[i]) / this.std[i]) : pixels;
  }

  /** Pixels in [0, 1] of visible units, or of their means. */
  toPixels(visible) {
    return this.std ? visible.map((x, i) => clip(this.mean[i] + this.std[i] * x)) : visible;
  }

  /** p(h_L=1|h_{L-1}, y), of the top pair. */
  hidden(below, label) {
    const logits = affine(below, this.w, this.b);
    if (this.u) for (let j = 0; j < logits.length; j++) logits[j] += this.u[label * logits.length + j];
    return logits.map(sigmoid);
  }

  /** E[h_{L-1}|h_L], which of an RBM alone is E[v|h]. */
  below(hidden) {
    const logits = affineTransposed(hidden, this.w, this.a);
    return this.alone && this.std ? logits : logits.map(sigmoid);
  }

  /** p(y|h_L) of every class. */
  classes(hidden) {
    return softmax(affineTransposed(hidden, this.u, this.c));
  }

  /** p(y|h_{L-1}) of every class, the hidden units summed over. */
  posterior(below) {
    const logits = affine(below, this.w, this.b), num = logits.length;
    return softmax(this.c.map((bias, y) => {
      let sum = bias;
      for (let j = 0; j < num; j++) sum += softplus(logits[j] + this.u[y * num + j]);
      return sum;
    }));
  }

  /** Visible units drawn about their means. */
  drawVisible(mean, uniform) {
    return this.std ? mean.map(value => value + normal(uniform)) : bernoulli(mean, uniform);
  }

  /** h_{L-1} of visible units, each layer drawn in turn. */
  up(visible, uniform) {
    return this.recognition.reduce(
      (below, { w, b }) => bernoulli(affine(below, w, b).map(sigmoid), uniform), visible);
  }

  /** E[v|h_1] of h_{L-1}, the layers between drawn in turn. */
  down(below, uniform) {
    for (let index = this.generative.length - 1; index >= 0; index--) {
      const { w, b } = this.generative[index], logits = affineTransposed(below, w, b);
      if (index === 0) return this.std ? logits : logits.map(sigmoid);
      below = bernoulli(logits.map(sigmoid), uniform);
    }
    return below;
  }

  /** A state whose visible units are given: {below, label, hidden, mean, visible}.

      Before the first step `hidden` are probabilities. */
  from(visible, label, uniform) {
    const below = this.up(visible, uniform);
    if (this.numClasses && label === null) label = categorical(this.posterior(below), uniform);
    return { below, label, hidden: this.hidden(below, label), mean: visible, visible };
  }

  /** A state of no information: units on with probability 1/2, or N(0, 1). */
  noise(label, uniform) {
    const half = new Float32Array(this.a.length).fill(this.alone && this.std ? 0 : 0.5);
    const below = this.alone ? this.drawVisible(half, uniform) : bernoulli(half, uniform);
    const mean = this.alone ? below : this.down(below, uniform);
    if (this.numClasses && label === null) label = Math.floor(uniform() * this.numClasses);
    return { below, label, hidden: this.hidden(below, label), mean, visible: mean };
  }

  /** The state after one step: h_L, then h_{L-1} and the class, a down pass, and the held pixels.

      `label` is the class that is held, or null. `held` is a visible unit each, NaN where free.
      With layers below the top pair, held pixels return to it by an up pass. */
  step(state, label, held, uniform) {
    const hidden = bernoulli(this.hidden(state.below, label ?? state.label), uniform);
    const belowMean = this.below(hidden);
    let below = this.alone ? this.drawVisible(belowMean, uniform) : bernoulli(belowMean, uniform);
    if (this.numClasses && label === null) label = categorical(this.classes(hidden), uniform);
    const mean = this.alone ? belowMean : this.down(below, uniform);
    if (!held || !held.some(value => value === value))
      return { below, label, hidden, mean, visible: this.alone ? below : mean };
    const put = values => values.map((value, i) => (held[i] === held[i] ? held[i] : value));
    if (this.alone) return { below: put(below), label, hidden, mean: put(mean), visible: put(below) };
    const visible = put(this.drawVisible(mean, uniform));
    below = this.up(visible, uniform);
    return { below, label, hidden, mean: put(mean), visible };
  }
}
