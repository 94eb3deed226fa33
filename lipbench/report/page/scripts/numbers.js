// Numbers in words, as the other files of the report print them.
const MISSING = 'n/a';

// With fixed decimals, ties to even: as Python formats, so that a page and its Markdown never differ in a last digit.
function fixed(value, digits) {
  const doubled = value * 2 ** (digits + 1);
  let text = value.toFixed(digits);
  if (Number.isInteger(doubled) && doubled % 2 !== 0) {
    const below = Math.floor(value * 10 ** digits);
    text = ((below % 2 === 0 ? below : below + 1) / 10 ** digits).toFixed(digits);
  }
  return Number(text) === 0 ? text.replace('-', '') : text;
}

const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);
const percent = (share, digits = 1) => (known(share) ? fixed(100 * share, digits) : MISSING);
const decimal = (value, digits = 2) => (known(value) ? fixed(value, digits) : MISSING);
const signed = (text) => (text.startsWith('-') ? `−${text.slice(1)}` : Number(text) > 0 ? `+${text}` : text);
const general = (value, digits = 3) => (known(value) ? String(Number(value.toPrecision(digits))) : MISSING);
const counted = (count, one) => `${count} ${one}${count === 1 ? '' : 's'}`;
const chance = (share) => (!known(share) ? MISSING : share > 0 && share < 0.005 ? '< 1 %' : share < 1 && share > 0.995 ? '> 99 %' : `${fixed(100 * share, 0)} %`);

// What a metric is called, and how it is printed. ``low``: the smallest is the best.
const METRICS = {
  clean: { title: 'clean', long: 'clean accuracy', show: percent, unit: ' %' },
  certified: { title: 'certified', long: 'certified accuracy', show: percent, unit: ' %' },
  robust: { title: 'robust', long: 'robust accuracy', show: percent, unit: ' %' },
  gap: { title: 'gap', long: 'gap', show: percent, unit: ' points', low: true },
  mean_gap: { title: 'mean gap', long: 'mean gap', show: percent, unit: ' points', low: true },
  tightness: { title: 'tightness', long: 'tightness', show: decimal, unit: '' },
};
const COMPARED = ['certified', 'robust', 'clean', 'mean_gap', 'tightness'];

const ends = (metric, cell) => (known(cell.low) && known(cell.high) ? `[${METRICS[metric].show(cell.low)}, ${METRICS[metric].show(cell.high)}]` : '');
const withEnds = (metric, cell) => `${METRICS[metric].show(cell.value)}${known(cell.value) ? METRICS[metric].unit : ''} ${ends(metric, cell)}`.trim();

// An eps as the suite gave it; elsewhere in the same way.
function epsText(suite, eps) {
  const place = gridPlace(suite, eps);
  if (place >= 0) return suite.eps[place][1];
  return suite.pixels ? `${general(255 * eps, 4)}/255` : general(eps, 4);
}
