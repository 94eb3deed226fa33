// What each hyperparameter does: a panel for each family and hyperparameter that takes two values or more.
const EFFECT_WORDS = ['certified', 'gap', 'mean_gap', 'tightness'];
const PANELS = [
  { title: 'accuracy (%)', lines: [['certified', 'line'], ['robust', 'line dashed'], ['clean', 'line thin']], all: true },
  { title: 'gap (points)', lines: [['gap', 'line'], ['mean_gap', 'line dotted']] },
  { title: 'tightness', lines: [['tightness', 'line']], all: true, plain: true },
];

// The panels of a suite: the settings that differ in nothing but hyperparameters of the loss, by these.
function panels(suite, rows) {
  const kinds = new Map();
  for (const row of rows) kinds.set(row.setting.kind, [...(kinds.get(row.setting.kind) || []), row]);
  return [...kinds].map(([number, members]) => {
    const names = Object.keys(members[0].setting.values)
      .filter((name) => new Set(members.map((row) => row.setting.values[name])).size > 1);
    return { number, members, names };
  }).filter((kind) => kind.names.length);
}

// Lines of a panel: settings that differ in the one hyperparameter alone, in its order.
function strata(suite, kind, name) {
  const others = kind.names.filter((other) => other !== name);
  const groups = new Map();
  for (const row of kind.members) {
    const words = others.map((other) => `${suite.axes[kind.number][other].symbol}=${general(row.setting.values[other], 4)}`).join(', ');
    groups.set(words, [...(groups.get(words) || []), row]);
  }
  return [...groups].filter(([, rows]) => rows.length > 1)
    .map(([words, rows]) => [words, rows.sort((a, b) => a.setting.values[name] - b.setting.values[name])]);
}

function drawEffects(suite, found, node) {
  const kinds = panels(suite, found.rows);
  if (!kinds.length) {
    replace(node, element('p', null, 'No hyperparameter of a loss takes two values: there is no effect to show.'));
    return;
  }
  replace(node, kinds.flatMap((kind) => [
    ...kind.names.map((name) => effectPanel(suite, found, kind, name)),
    kind.names.length === 2 ? heatMaps(suite, found, kind) : null,
  ]));
}

function kindTitle(suite, kind) {
  const { family, architecture } = kind.members[0].setting;
  return new Set(suite.settings.map((setting) => setting.architecture)).size > 1 ? `${architecture}, ${family}` : family;
}

function effectPanel(suite, found, kind, name) {
  const axis = suite.axes[kind.number][name];
  const places = new Map(axis.places);
  const texts = new Map(axis.places.map(([value, , text]) => [value, text]));
  const used = [...new Set(kind.members.map((row) => row.setting.values[name]))].sort((a, b) => a - b);
  const title = `${kindTitle(suite, kind)}: ${axis.title}`;
  const lines = strata(suite, kind, name);
  const [low, high] = [places.get(used[0]), places.get(used[used.length - 1])];
  const pad = (high - low) * 0.08;
  const label = (value) => texts.get(value);
  const x = { from: low - pad, to: high + pad, ticks: used.map((value) => [places.get(value), label(value)]), label: `${axis.title}${axis.log ? ' (log)' : ''}` };
  const slot = kind.members[0].setting.slot;
  const drawings = PANELS.map((panel) => {
    const top = panel.all ? 1 : Math.max(0.02, ...kind.members.flatMap((row) => panel.lines.flatMap(([metric]) => [row[metric].value, row[metric].high]).filter(known)));
    const least = panel.all ? 0 : Math.min(0, ...kind.members.flatMap((row) => panel.lines.flatMap(([metric]) => [row[metric].value, row[metric].low]).filter(known)));
    const frame = chart(250, panel.all && !panel.plain ? 190 : 150, x, { from: least, to: top * (panel.all ? 1 : 1.05), ticks: panel.plain ? ticks(0, 1, 4) : shares(least, top, 4), label: panel.title });
    const group = shape('g', { class: `slot-${slot}` });
    lines.forEach(([, rows], stratum) => panel.lines.forEach(([metric, kindOfLine]) => group.append(...effectLine(rows, metric, `${kindOfLine} stratum-${stratum % 3}`, frame, (row) => frame.X(places.get(row.setting.values[name]))))));
    const about = lines.map(([words, rows]) => `${words ? `${words}: ` : ''}${panel.lines.map(([metric]) => `${METRICS[metric].long} ${rows.map((row) => METRICS[metric].show(row[metric].value)).join(', ')}`).join('; ')}`).join('. ');
    return drawing(250, frame.height, `${title}, ${panel.title}`, `At ${axis.title} ${used.map(label).join(', ')}: ${about}.`, frame.parts, group);
  });
  const strataWords = lines.length > 1 ? `Shades, from dark to light: ${lines.map(([words]) => words).join('; ')}. ` : lines[0] && lines[0][0] ? `${lines[0][0]}. ` : '';
  return element('section', { class: 'panel' }, element('h3', null, title), drawings,
    effectSentences(suite, found, kind, name).map((sentence) => element('p', { class: 'small' }, sentence)),
    strataWords ? element('p', { class: 'note' }, strataWords) : null);
}

function effectLine(rows, metric, style, frame, X) {
  const shown = rows.filter((row) => known(row[metric].value));
  const parts = [shape('path', { d: path(shown.map((row) => [X(row), frame.Y(row[metric].value)])), class: style })];
  for (const row of shown) {
    const cell = row[metric];
    if (!['clean', 'robust', 'mean_gap'].includes(metric)) {
      if (known(cell.low)) parts.push(shape('line', { x1: X(row), x2: X(row), y1: frame.Y(cell.low), y2: frame.Y(Math.min(cell.high, 1)), class: `${style} interval` }));
      parts.push(shape('circle', { cx: X(row), cy: frame.Y(cell.value), r: 2.6, class: `filled ${style.split(' ').pop()}` }));
      for (const seed of row.seeds) if (known(seed[metric])) parts.push(shape('circle', { cx: X(row) + 5, cy: frame.Y(seed[metric]), r: 1.2, class: 'filled' }));
    }
  }
  return parts;
}

const LIKELY = 0.9; // the share of resamples from which on a shape is stated, as in the findings

// A shape with its share of resamples; a direction alone, or no trend, where the shape is not likely.
function shapeWords(row, symbol) {
  const chances = `in ${chance(row.shape_probability)} of resamples`;
  if (row.shape_probability >= LIKELY) return `${row.shape}${known(row.turn) ? ` at ${symbol} = ${general(row.turn, 4)}` : ''} (${chances})`;
  if (row.per_step_lo > 0) return 'rises on the whole';
  if (row.per_step_hi < 0) return 'falls on the whole';
  return 'has no clear trend';
}

// What effects.csv says in words at this eps, of the mean of all lines where there are several.
function effectSentences(suite, found, kind, name) {
  if (found.grade !== suite.grade) return [];
  const nearest = suite.eps.map(([value]) => value).reduce((a, b) => (Math.abs(b - found.eps) < Math.abs(a - found.eps) ? b : a));
  const away = nearest === found.eps ? [] : [`Trends are computed at the suite's eps; at the nearest, ${epsText(suite, nearest)}:`];
  const ours = suite.effects.filter((row) => row.kind === kind.number && row.hyperparameter === name && row.eps === nearest);
  const several = ours.some((row) => row.others === 'mean');
  return away.concat(ours.filter((row) => (several ? row.others === 'mean' : true) && EFFECT_WORDS.includes(row.metric)).map((row) => {
    const show = (value) => signed(row.metric === 'tightness' ? decimal(value, 3) : percent(value));
    const subject = METRICS[row.metric].long;
    const line = row.others && row.others !== 'mean' ? `At ${row.others}: ` : '';
    return `${line}${line ? subject : subject[0].toUpperCase() + subject.slice(1)} ${shapeWords(row, suite.axes[kind.number][name].symbol)}; per ${row.step} ${show(row.per_step)}${row.metric === 'tightness' ? '' : ' points'} [${show(row.per_step_lo)}, ${show(row.per_step_hi)}]${several ? ', mean of all lines' : ''}.`;
  }));
}
