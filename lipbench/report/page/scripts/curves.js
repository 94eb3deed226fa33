// Accuracy over eps: certified solid, robust dashed, a line for each seed of the opened setting; the others in grey.
const STEPS = 120;

// The share of a model's samples with a bound above each of STEPS + 1 eps from 0 to the suite's largest.
const curve = (suite, model, codes, key) => kept(suite, `curve ${model.name} ${key}`, () => {
  const order = Uint16Array.from(codes).sort();
  const found = new Float64Array(STEPS + 1);
  for (let step = 0, upto = 0; step <= STEPS; step += 1) {
    const level = position(suite, (suite.top * step) / STEPS);
    while (upto < order.length && order[upto] <= level) upto += 1;
    found[step] = (order.length - upto) / (order.length || 1);
  }
  return found;
});

function curvesOf(suite, model, grade) {
  const codes = radii(suite, model, grade);
  return { certified: codes && curve(suite, model, codes, grade), robust: curve(suite, model, model.distance, 'robust') };
}

function curveChart(suite, found, title, models, slot, others) {
  const frame = chart(460, 300, { from: 0, to: suite.top, ticks: epsTicks(suite), label: `eps (${suite.unit})` }, { from: 0, to: 1, ticks: shares(), label: 'accuracy (%)' });
  const points = (values) => path(Array.from(values, (share, step) => [frame.X((suite.top * step) / STEPS), frame.Y(share)]));
  for (const model of others) {
    const { certified } = curvesOf(suite, model, found.grade);
    if (certified) frame.parts.push(shape('path', { d: points(certified), class: 'other' }));
  }
  const group = shape('g', { class: `slot-${slot}` });
  for (const model of models) {
    const { certified, robust } = curvesOf(suite, model, found.grade);
    if (certified) group.append(shape('path', { d: points(certified), class: 'line' }));
    group.append(shape('path', { d: points(robust), class: 'line dashed' }));
  }
  frame.parts.push(group, shape('line', { x1: frame.X(found.eps), x2: frame.X(found.eps), y1: frame.top, y2: frame.bottom, class: 'now' }));
  const average = (name) => {
    const values = models.map((model) => modelNumbers(suite, model, found.eps, found.grade).shares[name]).filter(known);
    return values.length ? percent(values.reduce((sum, value) => sum + value, 0) / values.length) : MISSING;
  };
  const words = `${title}. At eps ${epsText(suite, found.eps)}: certified ${average('certified')} percent, robust ${average('robust')} percent, mean of ${counted(models.length, 'model')}.`;
  return drawing(460, 300, title, words, frame.parts);
}

function drawCurves(suite, found, node) {
  const setting = suite.byId.get(state.setting);
  const others = suite.settings.filter((one) => one !== setting).map((one) => one.members[0]).filter(Boolean);
  const title = `${setting.label}: accuracy over eps`;
  replace(node, element('h3', null, title), curveChart(suite, found, title, setting.members, setting.slot, others),
    element('p', { class: 'note' }, `Solid: certified. Dashed: robust. A line for each seed${others.length ? '; grey: certified accuracy of the other settings (first seed)' : ''}. The vertical line is the chosen eps.${suite.minimal ? '' : ' Between the eps of the suite, robust accuracy is known at the eps above only.'}`));
}
