// The opened setting: its numbers, what its certificates lose where, its seeds and its closest calls.
function drawSetting(suite, found, node, openModel) {
  const setting = suite.byId.get(state.setting);
  const row = found.rows.find((one) => one.setting === setting);
  const models = setting.every;
  replace(node,
    element('h2', { id: 'setting-title', tabindex: -1 }, `Setting: ${setting.label}`),
    setting.long === setting.label ? null : element('p', { class: 'note' }, setting.long),
    element('p', null, settingWords(suite, found, row)),
    factorStrip(suite, setting),
    element('h3', null, `Its ${counted(models.length, 'model')}, at eps ${epsText(suite, found.eps)}`),
    seedTable(suite, found, setting, openModel),
    element('h3', null, 'Closest calls of the setting'),
    drawCalls(suite, setting.every, setting.every.length > 1),
    element('p', { class: 'back' }, element('a', { href: '#table', onclick: back }, 'Back to the table')));
}

function back(event) {
  event.preventDefault();
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

// What remains of the margin behind each part of the network, where the run knows.
function factorStrip(suite, setting) {
  const rows = suite.factors.filter((one) => setting.members.some((model) => model.name === one.model));
  if (!rows.length) return null;
  const names = Object.keys(rows[0]).filter((name) => typeof rows[0][name] === 'number' && !['seed', 'eps', 'n'].includes(name));
  const mean = (name) => { const values = rows.map((one) => one[name]).filter((value) => typeof value === 'number'); return values.reduce((sum, value) => sum + value, 0) / values.length; };
  const part = (name) => {
    const value = mean(name);
    const node = element('li', null, element('span', null, name.replaceAll('_', ' ')), ' ', element('strong', null, `${fixed(100 * value, 0)} %`));
    node.style.setProperty('--share', `${Math.max(0, Math.min(100, 100 * value))}%`);
    return node;
  };
  return [element('h3', null, 'Where its certificates lose'), element('ul', { class: 'factors' }, names.map(part)),
    element('p', { class: 'note' }, 'Medians over samples, mean over seeds: the share that each part leaves. Their product is the tightness, sample by sample.')];
}

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
