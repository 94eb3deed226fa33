// Axes of the charts. A chart has places X and Y for values, and a list of parts to draw.
const MARKERS = [ // of families, by slot: paths about (0, 0)
  'M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0', 'M-3.6,-3.6h7.2v7.2h-7.2z', 'M0,-4.6L4.4,3.4H-4.4z', 'M0,-5L4.2,0L0,5L-4.2,0z',
  'M0,4.6L4.4,-3.4H-4.4z', 'M-1.5,-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z', 'M-4,-2.2L-2.2,-4L0,-1.8L2.2,-4L4,-2.2L1.8,0L4,2.2L2.2,4L0,1.8L-2.2,4L-4,2.2L-1.8,0z',
  'M4.6,0L-3.4,4.4V-4.4z', 'M-4.6,0L3.4,4.4V-4.4z', 'M0,-4.6L4.4,-1.4L2.7,3.7H-2.7L-4.4,-1.4z', 'M-2.3,-4H2.3L4.6,0L2.3,4H-2.3L-4.6,0z',
];
const marker = (slot, x, y, open) => shape('path', { d: MARKERS[slot], transform: `translate(${round(x)},${round(y)})`, class: open ? 'open' : 'filled' });
const round = (value) => Math.round(value * 10) / 10;

// x, y: { from, to, ticks: [[value, text]], label }
function chart(width, height, x, y, margin = { left: 44, right: 12, top: 10, bottom: 40 }) {
  const inner = { width: width - margin.left - margin.right, height: height - margin.top - margin.bottom };
  const X = (value) => round(margin.left + (inner.width * (value - x.from)) / (x.to - x.from || 1));
  const Y = (value) => round(margin.top + inner.height * (1 - (value - y.from) / (y.to - y.from || 1)));
  const bottom = margin.top + inner.height;
  const parts = [
    y.ticks.map(([value, text]) => [
      shape('line', { x1: margin.left, x2: margin.left + inner.width, y1: Y(value), y2: Y(value), class: 'grid' }),
      shape('text', { x: margin.left - 6, y: Y(value) + 4, class: 'end' }, text)]),
    x.ticks.map(([value, text]) => [
      shape('line', { x1: X(value), x2: X(value), y1: bottom, y2: bottom + 4, class: 'axis' }),
      shape('text', { x: X(value), y: bottom + 16, class: 'middle' }, text)]),
    shape('text', { x: margin.left + inner.width / 2, y: height - 6, class: 'middle' }, x.label),
  ];
  if (y.label) parts.push(shape('text', { x: 11, y: margin.top + inner.height / 2, class: 'middle', transform: `rotate(-90 11 ${margin.top + inner.height / 2})` }, y.label));
  return { X, Y, parts, width, height, bottom, top: margin.top, left: margin.left, right: margin.left + inner.width };
}

// Round numbers from one end to the other, about ``most`` of them.
function ticks(from, to, most, show = (value) => general(value, 4)) {
  const raw = (to - from) / most || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= raw * (1 - 1e-9));
  const found = [];
  for (let at = Math.ceil(from / step - 1e-9); at * step <= to + 1e-9 * step; at += 1) found.push([at * step, show(at * step)]);
  return found;
}

const shares = (from = 0, to = 1, most = 5) => ticks(from, to, most, (value) => general(100 * value, 4));
const path = (points) => points.map(([x, y], place) => `${place ? 'L' : 'M'}${x},${y}`).join('');

// The suite's eps under an axis, as it prints them, and 0; those that would touch a larger one are left out.
function epsTicks(suite) {
  let last = Infinity;
  return [[0, '0'], ...suite.eps].reverse().filter(([value]) => {
    if (last - value < suite.top / 7) return false;
    last = value;
    return true;
  });
}
