// The Pareto front: clean accuracy against certified (filled) and robust (open) accuracy.
const REACH = 0.12; // of clean accuracy below the best, and all of the front: what lies further left stands at the edge
const NAME = 27; // letters of a name for which there is room beside the chart: its last ones tell it from others

function drawFront(suite, found, node, open) {
  const rows = found.rows.filter((row) => known(row.clean.value) && known(row.robust.value));
  const clean = rows.map((row) => row.clean.value);
  const to = Math.max(...clean);
  const accuracy = suite.grades.length ? 'certified' : 'robust';
  const front = rows.filter((row) => onFront(rows.map((one) => [one.clean.value, one[accuracy].value]), rows.indexOf(row)))
    .sort((a, b) => a.clean.value - b.clean.value);
  const from = Math.min(Math.max(Math.min(...clean), to - REACH), ...front.map((row) => row.clean.value));
  const pad = Math.max(0.006, (to - from) * 0.06);
  const frame = chart(460, 300, { from: from - pad, to: to + pad, ticks: shares(Math.ceil(100 * (from - pad)) / 100, Math.min(1, to + pad), 5), label: 'clean accuracy (%)' }, { from: 0, to: 1, ticks: shares(), label: `accuracy at eps ${epsText(suite, found.eps)} (%)` }, { left: 44, right: 150, top: 10, bottom: 40 });
  const X = (row) => frame.X(Math.max(from, row.clean.value));
  frame.parts.push(shape('path', { d: path(front.map((row) => [X(row), frame.Y(row[accuracy].value)])), class: 'front' }));
  for (const row of rows) {
    const chosen = row.setting.id === state.setting;
    const about = `${row.setting.label}: clean ${percent(row.clean.value)}, certified ${percent(row.certified.value)}, robust ${percent(row.robust.value)} %`;
    const group = shape('g', { class: `point slot-${row.setting.slot}${chosen ? ' chosen' : ''}`, onclick: () => open(row.setting.id) }, shape('title', null, about));
    if (known(row.certified.value)) {
      group.append(shape('line', { x1: X(row), x2: X(row), y1: frame.Y(row.certified.value), y2: frame.Y(row.robust.value), class: 'link' }));
      group.append(marker(row.setting.slot, X(row), frame.Y(row.certified.value), false));
    }
    group.append(marker(row.setting.slot, X(row), frame.Y(row.robust.value), true));
    frame.parts.push(group);
  }
  frame.parts.push(frontLabels(front, frame, X, accuracy));
  const far = rows.filter((row) => row.clean.value < from);
  const names = front.map((row) => `${row.setting.label}${row.pFront ? ` (${chance(row.pFront[accuracy])})` : ''}`);
  const words = `On the front of clean and ${accuracy} accuracy as measured${found.whole ? ', with the share of resamples in which they are on it' : ''}: ${names.join('; ')}.`;
  replace(node, element('h3', null, `Clean against certified and robust accuracy, eps ${epsText(suite, found.eps)}`),
    drawing(460, 300, 'Pareto front', words, frame.parts), legend(suite),
    element('p', { class: 'note' }, 'Filled: certified; open: robust; the line between them is the gap. ', words,
      far.length ? ` At the left edge, with less clean accuracy than the axis shows: ${far.map((row) => `${row.setting.label} (${percent(row.clean.value)} %)`).join(', ')}.` : ''));
}

// Names of the points of the front in the margin, from top to bottom, each with a line to its point.
function frontLabels(front, frame, X, accuracy) {
  let last = -Infinity;
  return [...front].sort((a, b) => b[accuracy].value - a[accuracy].value).flatMap((row) => {
    const at = frame.Y(row[accuracy].value);
    const y = Math.max(at, last + 13);
    last = y;
    return [shape('path', { d: `M${X(row) + 6},${at}L${frame.right + 6},${y}`, class: 'leader' }),
      shape('text', { x: frame.right + 9, y: y + 4, class: 'label' }, row.setting.label.length > NAME ? `…${row.setting.label.slice(1 - NAME)}` : row.setting.label)];
  });
}

// The families with their markers.
function legend(suite) {
  const families = new Map(suite.settings.map((setting) => [setting.family, setting.slot]));
  return element('p', { class: 'legend' }, [...families].map(([family, slot]) => element('span', { class: `slot-${slot}` },
    shape('svg', { viewBox: '-6 -6 12 12', width: 12, height: 12, 'aria-hidden': 'true' }, marker(slot, 0, 0, false)), ` ${family}`)));
}
