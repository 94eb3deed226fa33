// The opened setting: its numbers, what its certificates lose where, its seeds and its closest calls.
function drawSetting(suite, found, node, openModel) {
  const setting = suite.byId.get(state.setting);
  const row = found.rows.find((one) => one.setting === setting);
  const models = setting.every;
  replace(node,
    element('h2', { id: 'setting-title', tabindex: -1 }, `Setting: ${setting.label}`),
    setting.long === setting.label ? null : element('p', { class: 'note' }, setting.long),
    element('p', null, settingWords(suite, found, row)),
    factorStrip(setting, besideOf(found, row)),
    element('h3', null, `Its ${counted(models.length, 'model')}, at eps ${epsText(suite, found.eps)}`),
    seedTable(suite, found, setting, openModel),
    element('h3', null, 'Closest calls of the setting'),
    drawCalls(suite, setting.every, setting.every.length > 1),
    element('p', { class: 'back' }, element('a', { href: '#table', onclick: back }, 'Back to the table')));
}

function back(event) {
  event.preventDefault();
  state.view = '';
  remember();
  byId('table').scrollIntoView();
  const row = byId('settings').querySelector('.chosen button');
  if (row) row.focus({ preventScroll: true });
}

function settingWords(suite, found, row) {
  const { best } = found;
  const eps = epsText(suite, found.eps);
  const parts = [`At eps ${eps}: clean accuracy ${withEnds('clean', row.clean)}, certified ${withEnds('certified', row.certified)}, robust ${withEnds('robust', row.robust)}, gap ${withEnds('gap', row.gap)}.`];
  if (known(row.tightness.value)) {
    const compared = best && best !== row && known(best.tightness.value) ? `; of ${best.setting.label}, the best in ${METRICS[found.by].long}, ${percent(best.tightness.value, 0)} %` : '';
    parts.push(` Tightness: for the median sample, the certificate proves ${percent(row.tightness.value, 0)} % of the distance at which an attack succeeds${compared}.`);
  }
  if (alike(found, row)) parts.push(` It cannot be told apart from the best, ${best.setting.label}, at 95 %.`);
  return parts;
}

// What each part of the network leaves of tightness: medians over samples, geometric mean over the models of a setting.
function factorsOf(setting) {
  const found = new Map();
  for (const model of setting.members) {
    for (const [part, name, median] of model.factors) {
      const key = `${part} ${name}`;
      const held = found.get(key) || { part, name, logs: [] };
      if (known(median)) held.logs.push(Math.log(median));
      found.set(key, held);
    }
  }
  return [...found.values()].filter(({ logs }) => logs.length)
    .map(({ part, name, logs }) => ({ part, name, value: Math.exp(logs.reduce((sum, value) => sum + value, 0) / logs.length) }));
}

// The setting that another is explained beside: the best one of its family, or else the best of all.
function besideOf(found, row) {
  const sign = METRICS[found.by].low ? -1 : 1;
  const alike = found.rows.filter((one) => one.setting.kind === row.setting.kind && known(one[found.by].value));
  const first = alike.reduce((best, one) => (!best || sign * one[found.by].value > sign * best[found.by].value ? one : best), null);
  if (first && first !== row) return first.setting;
  return found.best && found.best.setting;
}

// Where the certificates of a setting lose, beside those of the best one. Parts that leave all are named in a sentence.
function factorStrip(setting, best) {
  const own = factorsOf(setting);
  if (!own.length) return null;
  const other = best && best !== setting ? factorsOf(best) : [];
  const beside = (factor) => other.find((one) => one.part === factor.part && one.name === factor.name);
  const bar = (factor) => {
    if (!factor) return '';
    const node = element('span', { class: 'factor' }, `${fixed(100 * factor.value, 0)} %`);
    node.style.setProperty('--share', `${Math.max(0, Math.min(100, 100 * factor.value))}%`);
    return node;
  };
  const both = own.some(({ part }) => part === 'box') && own.some(({ part }) => part === 'rest');
  const parts = own.filter(({ part }) => part !== 'kept product' && !(both && part === 'box and rest'));
  const leavesAll = (factor) => factor.part !== 'tightness' && [factor, beside(factor)].every((one) => !one || Math.abs(one.value - 1) < 0.005);
  const shown = parts.filter((factor) => !leavesAll(factor));
  const rows = shown.map((factor) => [factorWords(factor), bar(factor), ...(other.length ? [bar(beside(factor))] : [])]);
  const all = parts.filter(leavesAll).map(factorWords);
  return [element('h3', null, 'Why its gap is as large as it is: where its certificates lose'),
    mostWords(shown, beside, best),
    plainTable('What each part leaves; sample by sample the parts multiply to the tightness', ['part', setting.label, ...(other.length ? [best.label] : [])], rows, { class: 'factors' }),
    element('p', { class: 'note' }, `${all.length ? `Nothing is lost in: ${all.join('; ')}. ` : ''}A layer that lets less than 100 % of the gradient back is less steep at the sample than its Lipschitz constant allows; the certificate has to reckon with the constant. Medians over samples, geometric mean over seeds: the product of medians is not exactly the median of the product.`)];
}

function factorWords(factor) {
  if (factor.part === factor.name) return FACTORS[factor.part] || factor.part;
  return `${factor.name}${FACTORS[factor.part] ? `: ${FACTORS[factor.part]}` : ''}`;
}

// The part that takes most, in a sentence; sizes are compared as logarithms, which add up.
function mostWords(shown, beside, best) {
  const parts = shown.filter(({ part, value }) => part !== 'tightness' && value < 0.995);
  if (!parts.length) return null;
  const most = parts.reduce((least, one) => (one.value < least.value ? one : least));
  const share = Math.log(most.value) / parts.reduce((sum, { value }) => sum + Math.log(value), 0);
  const of = beside(most);
  const compared = of ? `; in ${best.label}, ${fixed(100 * of.value, 0)} %` : '';
  const what = most.part === 'kept' ? `${most.name} lets ${fixed(100 * most.value, 0)} % of the gradient of the margin back` : `${factorWords(most)}: ${fixed(100 * most.value, 0)} % left`;
  const start = most.value > 0.9 ? 'Little is lost. The largest part' : share > 0.5 ? 'Most is lost in one part' : `It is lost in ${parts.length} parts; the largest, ${fixed(100 * share, 0)} % of the loss in logarithms`;
  return element('p', { class: 'most' }, `${start}: ${what}${compared}.`);
}

const FACTORS = {
  grade: 'rounding, and the grade', kept: 'of the gradient let back', head: 'the last layer', norm: 'from L2 to the norm of the suite',
  box: 'the input range', rest: 'curvature, and what attacks missed', 'kept product': 'all layers together', 'box and rest': 'input range, curvature and what attacks missed', tightness: 'tightness',
};

function seedTable(suite, found, setting, openModel) {
  const rows = setting.every.map((model) => {
    const { cells, shares } = modelNumbers(suite, model, found.eps, found.grade);
    const button = element('button', { type: 'button', class: 'open-model', 'data-key': `model ${model.name}`, 'aria-current': model.name === state.model ? 'true' : null, onclick: () => openModel(model.name) }, model.name);
    return [[button, model.copy ? ' (copy: not counted)' : ''], String(model.seed), ...['clean', 'certified', 'robust'].map((name) => shareWords(suite, cells[name])), percent(shares.gap), decimal(model.tightness), percent(model.mean_gap)];
  });
  return plainTable('Each model, with 95 % Clopper-Pearson intervals, in percent', ['model', 'seed', 'clean', 'certified', 'robust', 'gap', 'tightness', 'mean gap'], rows, { class: 'numbers' });
}

// A share of one model's samples with its Clopper-Pearson interval.
function shareWords(suite, cell) {
  if (!cell) return MISSING;
  const [value, low, high] = cell;
  const [from, to] = known(low) ? [low, high] : clopperPearson(Math.round(value * suite.samples), suite.samples);
  return `${percent(value)} [${percent(from)}, ${percent(to)}]`;
}
