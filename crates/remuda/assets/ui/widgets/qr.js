// QR codes (ISO/IEC 18004, model 2) of short texts: bytes, error correction L, versions 1 to 10, which hold up to 271 bytes.

import { s } from "../core/dom.js";

/** Codewords for error correction of each block, and the number of blocks, by version. */
const CORRECTION = [0, 7, 10, 15, 20, 26, 18, 20, 24, 30, 18];
const BLOCKS = [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 4];
/** Centres of the alignment patterns, by version. */
const ALIGNMENT = [[], [], [6, 18], [6, 22], [6, 26], [6, 30], [6, 34], [6, 22, 38], [6, 24, 42], [6, 26, 46], [6, 28, 50]];
/** The quiet zone around the code, in modules. */
const QUIET = 4;

const MASKS = [
  (x, y) => (x + y) % 2 === 0, (x, y) => y % 2 === 0, (x) => x % 3 === 0, (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2 === 0, (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0, (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

/** An image of the text's code, dark on light in every theme: readers want it so. Nothing when the text is too long. */
export function qr(text, label) {
  const modules = encode(new TextEncoder().encode(text));
  if (!modules) return null;
  const size = modules.length + 2 * QUIET;
  const dark = modules.flatMap((row, y) => row.map((on, x) => (on ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : ""))).join("");
  return s("svg", { class: "qr", viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": label, "shape-rendering": "crispEdges" }, s("rect", { width: size, height: size, fill: "#fff" }), s("path", { d: dark, fill: "#000" }));
}

/** Returns rows of modules, true for dark. */
export function encode(bytes) {
  const version = CORRECTION.findIndex((_, at) => at > 0 && bytes.length <= room(at) - (at < 10 ? 2 : 3));
  if (version < 0) return null;
  const size = 17 + 4 * version;
  const grid = Array.from({ length: size }, () => new Array(size).fill(false));
  const fixed = Array.from({ length: size }, () => new Array(size).fill(false));
  const set = (x, y, on) => { grid[y][x] = on; fixed[y][x] = true; };
  frame(version, size, set);
  place(grid, fixed, codewords(bytes, version));
  let best = null;
  MASKS.forEach((mask, number) => {
    const tried = grid.map((row, y) => row.map((on, x) => on !== (!fixed[y][x] && mask(x, y))));
    formatBits(number, size, (x, y, on) => { tried[y][x] = on; });
    const penalty = penaltyOf(tried);
    if (!best || penalty < best.penalty) best = { penalty, tried };
  });
  return best.tried;
}

/** All codewords of a version, and those for data. */
function whole(version) {
  const aligned = ALIGNMENT[version].length;
  let bits = (16 * version + 128) * version + 64;
  if (aligned > 0) bits -= (25 * aligned - 10) * aligned - 55;
  if (version >= 7) bits -= 36;
  return Math.floor(bits / 8);
}
const room = (version) => whole(version) - CORRECTION[version] * BLOCKS[version];

/** Finders, timing, alignment, version; and room for the format. */
function frame(version, size, set) {
  for (let at = 0; at < size; at += 1) { set(6, at, at % 2 === 0); set(at, 6, at % 2 === 0); }
  for (const [cx, cy] of [[3, 3], [size - 4, 3], [3, size - 4]]) {
    for (let dy = -4; dy <= 4; dy += 1) {
      for (let dx = -4; dx <= 4; dx += 1) {
        const [x, y, far] = [cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy))];
        if (x >= 0 && x < size && y >= 0 && y < size) set(x, y, far !== 2 && far !== 4);
      }
    }
  }
  const centres = ALIGNMENT[version];
  const last = centres.length - 1;
  centres.forEach((cx, i) => centres.forEach((cy, j) => {
    if ((i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0)) return;
    for (let dy = -2; dy <= 2; dy += 1) for (let dx = -2; dx <= 2; dx += 1) set(cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1);
  }));
  formatBits(0, size, set);
  if (version < 7) return;
  let rest = version;
  for (let at = 0; at < 12; at += 1) rest = (rest << 1) ^ ((rest >>> 11) * 0x1f25);
  const bits = (version << 12) | rest;
  for (let at = 0; at < 18; at += 1) {
    const [a, b, on] = [size - 11 + (at % 3), Math.floor(at / 3), ((bits >>> at) & 1) === 1];
    set(a, b, on);
    set(b, a, on);
  }
}

/** The level (L is 1) and the mask, twice. */
function formatBits(mask, size, set) {
  const data = (1 << 3) | mask;
  let rest = data;
  for (let at = 0; at < 10; at += 1) rest = (rest << 1) ^ ((rest >>> 9) * 0x537);
  const bits = ((data << 10) | rest) ^ 0x5412;
  const on = (at) => ((bits >>> at) & 1) === 1;
  for (let at = 0; at <= 5; at += 1) set(8, at, on(at));
  set(8, 7, on(6)); set(8, 8, on(7)); set(7, 8, on(8));
  for (let at = 9; at < 15; at += 1) set(14 - at, 8, on(at));
  for (let at = 0; at < 8; at += 1) set(size - 1 - at, 8, on(at));
  for (let at = 8; at < 15; at += 1) set(8, size - 15 + at, on(at));
  set(8, size - 8, true);
}

/** Data in blocks with their corrections, interleaved. */
function codewords(bytes, version) {
  const bits = [];
  const push = (value, length) => { for (let at = length - 1; at >= 0; at -= 1) bits.push((value >>> at) & 1); };
  push(4, 4);
  push(bytes.length, version < 10 ? 8 : 16);
  bytes.forEach((byte) => push(byte, 8));
  const capacity = room(version) * 8;
  push(0, Math.min(4, capacity - bits.length));
  push(0, (8 - (bits.length % 8)) % 8);
  for (let pad = 0xec; bits.length < capacity; pad ^= 0xec ^ 0x11) push(pad, 8);
  const data = Array.from({ length: bits.length / 8 }, (_, at) => Number.parseInt(bits.slice(at * 8, at * 8 + 8).join(""), 2));
  const [blocks, correction] = [BLOCKS[version], CORRECTION[version]];
  const short = Math.floor(whole(version) / blocks) - correction;
  const longer = data.length - short * blocks;
  const parts = [];
  for (let at = 0, from = 0; at < blocks; at += 1) {
    const length = short + (at >= blocks - longer ? 1 : 0);
    const part = data.slice(from, from + length);
    parts.push([part, remainder(part, divisor(correction))]);
    from += length;
  }
  const interleaved = (which, length) => Array.from({ length }, (_, at) => parts.map((part) => part[which][at])).flat().filter((byte) => byte !== undefined);
  return [...interleaved(0, short + 1), ...interleaved(1, correction)];
}

/** Arithmetic in GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1. */
function multiply(one, other) {
  let product = 0;
  for (let at = 7; at >= 0; at -= 1) product = ((product << 1) ^ ((product >>> 7) * 0x11d)) ^ (((other >>> at) & 1) * one);
  return product;
}

function divisor(degree) {
  const result = new Array(degree).fill(0);
  result[degree - 1] = 1;
  for (let turn = 0, root = 1; turn < degree; turn += 1, root = multiply(root, 2)) {
    for (let at = 0; at < degree; at += 1) result[at] = multiply(result[at], root) ^ (result[at + 1] ?? 0);
  }
  return result;
}

function remainder(data, by) {
  const result = new Array(by.length).fill(0);
  for (const byte of data) {
    const factor = byte ^ result.shift();
    result.push(0);
    by.forEach((coefficient, at) => { result[at] ^= multiply(coefficient, factor); });
  }
  return result;
}

/** Writes codewords in columns of two, upwards and downwards in turn, around what is fixed. */
function place(grid, fixed, words) {
  const size = grid.length;
  let bit = 0;
  for (let right = size - 1; right >= 1; right -= 2) {
    if (right === 6) right = 5;
    for (let step = 0; step < size; step += 1) {
      for (const x of [right, right - 1]) {
        const y = ((right + 1) & 2) === 0 ? size - 1 - step : step;
        if (fixed[y][x] || bit >= words.length * 8) continue;
        grid[y][x] = ((words[bit >>> 3] >>> (7 - (bit & 7))) & 1) === 1;
        bit += 1;
      }
    }
  }
}

/** How hard to read a mask makes it: long runs, squares of one colour, what looks like a finder, too much of one colour. */
function penaltyOf(grid) {
  const size = grid.length;
  let penalty = 0;
  const lines = [...grid, ...grid.map((_, x) => grid.map((row) => row[x]))];
  for (const line of lines) {
    const text = line.map(Number).join("");
    for (const [run] of text.matchAll(/0{5,}|1{5,}/g)) penalty += run.length - 2;
    penalty += 40 * (text.match(/(?=10111010000|00001011101)/g) ?? []).length;
  }
  for (let y = 0; y < size - 1; y += 1) for (let x = 0; x < size - 1; x += 1) if (grid[y][x] === grid[y][x + 1] && grid[y][x] === grid[y + 1][x] && grid[y][x] === grid[y + 1][x + 1]) penalty += 3;
  const dark = grid.flat().filter(Boolean).length / (size * size);
  return penalty + 10 * Math.floor(Math.abs(dark - 0.5) * 20);
}
