// The opened model: its card, its numbers, its classes, its samples, and the command that computes them again.
function drawModel(suite, found, node) {
  const model = suite.models[suite.place(state.model)];
  const setting = suite.byId.get(model.setting);
  const { cells, shares } = modelNumbers(suite, model, found.eps, found.grade);
  const broken = Object.entries(model.violations).map(([grade, count]) => `${counted(count, 'certificate')} of grade ${grade} ${count === 1 ? 'is' : 'are'} false.`);
  replace(node,
    element('h2', { id: 'model-title', tabindex: -1 }, `Model: ${model.name}`),
    [...broken, model.warnings].filter(Boolean).map((text) => element('p', { class: 'bad' }, text)),
    element('p', null, `At eps ${epsText(suite, found.eps)}, n = ${suite.n}, with 95 % Clopper-Pearson intervals: clean ${shareWords(suite, cells.clean)}, certified ${shareWords(suite, cells.certified)} (grade ${gradeOf(suite, model, found.grade)}), robust ${shareWords(suite, cells.robust)} %, gap ${percent(shares.gap)} points, tightness ${decimal(model.tightness)}, mean gap ${percent(model.mean_gap)} points.`),
    element('h3', null, 'Compute these numbers again'),
    model.command ? element('pre', { tabindex: 0, class: 'command' }, element('code', null, model.command))
      : element('p', null, 'No command reads this model or its data: they were given from memory.'),
    model.command && gridPlace(suite, found.eps) < 0 ? element('p', { class: 'note' }, `The command evaluates at the suite's eps. At eps ${epsText(suite, found.eps)}, certified accuracy is the share of correct samples with a certified_radius above it in Results.samples of that run, robust accuracy the share with an adversarial_distance above it.`) : null,
    model.command && model.needs ? element('p', { class: 'note' }, model.needs) : null,
    element('div', { class: 'charts' },
      element('div', null, element('h3', null, 'Accuracy over eps'), curveChart(suite, found, `${model.name}: accuracy over eps`, [model], setting.slot, [])),
      element('div', null, element('h3', null, 'Its samples: certified radius against adversarial distance'), scatter(suite, model, found, setting.slot))),
    element('h3', null, 'Closest calls of the model'), drawCalls(suite, [model], false),
    classTable(suite, model, found),
    element('div', { class: 'facts' },
      plainTable('Facts', ['', ''], model.facts, { class: 'words' }),
      plainTable('Card', ['field', 'value'], model.card, { class: 'words' })));
}

function scatter(suite, model, found, slot) {
  const codes = radii(suite, model, found.grade);
  if (!codes) return element('p', null, 'It has no certificate.');
  const pairs = [];
  let without = 0;
  for (let i = 0; i < suite.samples; i += 1) {
    if (!model.correct[i]) continue;
    if (model.distance[i] === INFINITE) without += 1; else pairs.push([bound(suite, codes[i]), bound(suite, model.distance[i])]);
  }
  const most = quantile(pairs.map(([, distance]) => distance).sort((a, b) => a - b), 0.995) || suite.top;
  const axis = (label) => ({ from: 0, to: most, ticks: ticks(0, most, 5), label });
  const frame = chart(460, 300, axis('certified radius'), axis('adversarial distance'));
  frame.parts.push(shape('line', { x1: frame.X(0), y1: frame.Y(0), x2: frame.X(most), y2: frame.Y(most), class: 'axis' }),
    shape('g', { class: `slot-${slot} cloud` }, pairs.filter(([, distance]) => distance <= most).map(([radius, distance]) => shape('circle', { cx: frame.X(Math.min(radius, most)), cy: frame.Y(distance), r: 2 }))));
  const words = `${counted(pairs.length, 'correct sample')}${without ? `; ${without} more without a known adversarial input` : ''}. On the line the certificate is tight; below it, it would be false.`;
  return [drawing(460, 300, `${model.name}: certified radius against adversarial distance`, words, frame.parts), element('p', { class: 'note' }, words)];
}

// Accuracies of each class at the chosen eps.
function classTable(suite, model, found) {
  const level = position(suite, found.eps);
  const codes = radii(suite, model, found.grade);
  const rows = new Map();
  for (let i = 0; i < suite.samples; i += 1) {
    const label = suite.labels[i];
    const row = rows.get(label) || { n: 0, clean: 0, certified: 0, robust: 0 };
    row.n += 1;
    row.clean += model.correct[i];
    row.robust += model.distance[i] > level;
    if (codes) row.certified += codes[i] > level;
    rows.set(label, row);
  }
  const words = (row, name) => {
    const [low, high] = clopperPearson(row[name], row.n);
    return `${percent(row[name] / row.n)} [${percent(low)}, ${percent(high)}]`;
  };
  const part = suite.samples < suite.n ? ` (of ${suite.samples} of the ${suite.n} samples)` : '';
  return plainTable(`Each class at eps ${epsText(suite, found.eps)}${part}, with 95 % Clopper-Pearson intervals, in percent`, ['class', 'samples', 'clean', 'certified', 'robust', 'gap'],
    [...rows].sort(([a], [b]) => a - b).map(([label, row]) => [String(label), String(row.n), words(row, 'clean'), codes ? words(row, 'certified') : MISSING, words(row, 'robust'), codes ? percent((row.robust - row.certified) / row.n) : MISSING]), { class: 'numbers' });
}
