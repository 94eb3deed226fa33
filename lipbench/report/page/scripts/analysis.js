// The numbers of all models and settings at an eps. At the suite's eps they are those of summary.csv, hyperparameters.csv
// and comparisons.csv; between them they are counted from the embedded bounds in the same way.
const FRONT = ['certified', 'robust'];

// Of one model: shares of its samples, null where n/a.
function modelNumbers(suite, model, eps, grade) {
  const place = gridPlace(suite, eps);
  const own = gradeOf(suite, model, grade);
  const found = {};
  if (place >= 0) {
    found.clean = model.at.clean[place];
    found.robust = model.at.robust[place];
    found.certified = model.at.certified[own] ? model.at.certified[own][place] : null;
  } else {
    const n = suite.samples;
    const level = position(suite, eps);
    const count = (codes) => { let sum = 0; for (const code of codes) sum += code > level; return sum / n; };
    const codes = radii(suite, model, grade);
    found.clean = model.at.clean[0];
    found.robust = [count(model.distance), null, null];
    found.certified = codes ? [count(codes), null, null] : null;
  }
  const shares = Object.fromEntries(Object.entries(found).map(([name, cell]) => [name, cell ? cell[0] : null]));
  shares.gap = known(shares.certified) ? shares.robust - shares.certified : null;
  if (place >= 0 && grade === suite.grade) shares.gap = model.at.gap[place];
  return { shares, cells: found };
}

// What each sample of a model adds to the mean of a metric.
function contributions(suite, model, metric, eps, grade) {
  const level = position(suite, eps);
  const codes = radii(suite, model, grade);
  switch (metric) {
    case 'clean': return model.correct;
    case 'robust': return model.distance.map((code) => (code > level ? 1 : 0));
    case 'certified': return codes && codes.map((code) => (code > level ? 1 : 0));
    case 'gap': return codes && Float32Array.from(codes, (code, i) => (model.distance[i] > level) - (code > level));
    default: return codes && Float32Array.from(codes, (code, i) => (model.correct[i]
      ? (Math.min(bound(suite, model.distance[i]), suite.top) - Math.min(bound(suite, code), suite.top)) / suite.top : 0));
  }
}

// Tightness of the correct samples with a known adversarial input, ascending, with their places.
const tightnessList = (suite, model, grade) => kept(suite, `list ${model.name} ${grade}`, () => {
  const codes = radii(suite, model, grade);
  const places = [];
  const values = new Float64Array(suite.samples);
  for (let i = 0; codes && i < suite.samples; i += 1) {
    if (model.correct[i] && model.distance[i] > 0 && model.distance[i] !== INFINITE) {
      places.push(i);
      values[i] = bound(suite, codes[i]) / bound(suite, model.distance[i]);
    }
  }
  places.sort((a, b) => values[a] - values[b]);
  return [places.map((i) => values[i]), places];
});

// A metric of a setting in each resample, or null where n/a.
function drawn(suite, setting, metric, eps, grade) {
  const where = metric === 'clean' ? '' : ['mean_gap', 'tightness'].includes(metric) ? grade : `${grade} ${eps}`;
  return kept(suite, `${setting.id} ${metric} ${where}`, () => {
    const place = suite.settings.indexOf(setting);
    if (!['clean', 'robust'].includes(metric) && !setting.members.every((model) => radii(suite, model, grade))) return null;
    if (metric === 'tightness') return resampledMedian(suite, place, setting.members.map((model) => tightnessList(suite, model, grade)));
    return resampledMean(suite, place, setting.members.map((model) => contributions(suite, model, metric, eps, grade)));
  });
}

// The value of a metric over the seeds of a setting, as measured.
function measured(suite, setting, metric, eps, grade, seeds) {
  const mean = (values) => (values.length && values.every(known) ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
  if (metric in seeds[0]) return mean(seeds.map((shares) => shares[metric]));
  if (metric === 'tightness') return mean(setting.members.map((model) => quantile(tightnessList(suite, model, grade)[0], 0.5)));
  return mean(setting.members.map((model) => {
    const parts = contributions(suite, model, metric, eps, grade);
    return parts && parts.reduce((sum, value) => sum + value, 0) / suite.samples;
  }));
}

function cellOf(suite, setting, metric, eps, grade, seeds, whole) {
  const place = gridPlace(suite, eps);
  const once = ['clean', 'mean_gap', 'tightness'].includes(metric);
  const headline = grade === suite.grade || ['clean', 'robust'].includes(metric);
  const held = headline && (place >= 0 || once) ? setting.at[metric][Math.max(place, 0)] : null;
  const cell = held ? { value: held[0], low: held[1], high: held[2] } : { value: measured(suite, setting, metric, eps, grade, seeds) };
  if (!known(cell.low) && known(cell.value) && whole) {
    const draws = drawn(suite, setting, metric, eps, grade);
    if (draws) [cell.low, cell.high] = within(suite, metric, cell.value, interval95(draws), seeds.map((shares) => shares[metric]));
  }
  return cell;
}

// Ends that a metric can have. What counts samples has the interval of Clopper and Pearson with one seed; with several,
// all of which are at 0 or all at 1, it reaches as far as that of one.
function within(suite, metric, value, [low, high], seeds) {
  if (metric === 'tightness') return [Math.min(low, value), Math.max(high, value)];
  let [from, to] = [Math.max(low, 0), Math.min(high, 1)];
  const alone = seeds.length === 1;
  const [share] = seeds;
  if (metric !== 'mean_gap' && seeds.every((one) => one === share) && share >= 0 && (alone || share === 0 || share === 1)) {
    const exact = clopperPearson(Math.round(share * suite.samples), suite.samples);
    [from, to] = alone ? exact : [Math.min(from, exact[0]), Math.max(to, exact[1])];
  }
  return [Math.min(from, value), Math.max(to, value)];
}

// All settings at an eps. whole: with intervals and probabilities, which take a moment where none are embedded.
function analyse(suite, eps, grade, by, whole) {
  const rows = suite.settings.map((setting) => {
    const seeds = setting.members.map((model) => modelNumbers(suite, model, eps, grade).shares);
    const row = { setting, seeds };
    for (const metric of Object.keys(METRICS)) row[metric] = cellOf(suite, setting, metric, eps, grade, seeds, whole);
    return row;
  });
  const sign = METRICS[by].low ? -1 : 1;
  const able = rows.filter((row) => known(row[by].value));
  const best = able.reduce((first, row) => (!first || sign * row[by].value > sign * first[by].value ? row : first), null);
  const found = { rows, best, by, eps, grade, whole };
  if (whole) { compare(suite, found, able); fronts(suite, found); }
  for (const row of rows) row.measuredFront = onFront(rows.map((one) => [one.clean.value, one.certified.value]), rows.indexOf(row));
  return found;
}

function held(suite, found, setting) {
  const place = gridPlace(suite, found.eps);
  return found.grade === suite.grade && place >= 0 && setting.compared ? { compared: setting.compared, place } : null;
}

function compare(suite, found, able) {
  const { best, by, eps, grade } = found;
  const sign = METRICS[by].low ? -1 : 1;
  const stored = best && held(suite, found, best.setting);
  if (stored && stored.compared.by[by]) {
    for (const row of able) {
      const [value, low, high, share] = held(suite, found, row.setting).compared.by[by][stored.place];
      row.difference = { value, low, high };
      row.pBest = share;
    }
    return;
  }
  const draws = able.map((row) => drawn(suite, row.setting, by, eps, grade));
  const wins = new Float64Array(able.length);
  for (let b = 0; b < RESAMPLES; b += 1) {
    const most = Math.max(...draws.map((one) => sign * one[b]));
    const winners = draws.flatMap((one, place) => (sign * one[b] === most ? [place] : []));
    for (const place of winners) wins[place] += 1 / winners.length;
  }
  const reference = best && draws[able.indexOf(best)];
  able.forEach((row, place) => {
    const [low, high] = interval95(draws[place].map((value, b) => value - reference[b]));
    row.difference = { value: row[by].value - best[by].value, low, high };
    row.pBest = wins[place] / RESAMPLES;
  });
}

const onFront = (points, at) => known(points[at][1]) && !points.some(([x, y]) => known(y)
  && x >= points[at][0] && y >= points[at][1] && (x > points[at][0] || y > points[at][1]));

function fronts(suite, found) {
  for (const accuracy of FRONT) {
    const stored = found.best && held(suite, found, found.best.setting);
    const able = found.rows.filter((row) => known(row[accuracy].value));
    if (stored) {
      for (const row of able) {
        const own = held(suite, found, row.setting);
        (row.pFront ??= {})[accuracy] = own ? own.compared.front[accuracy][own.place] : null;
      }
      continue;
    }
    const [clean, other] = ['clean', accuracy].map((metric) => able.map((row) => drawn(suite, row.setting, metric, found.eps, found.grade)));
    const counts = new Float64Array(able.length);
    for (let b = 0; b < RESAMPLES; b += 1) {
      const points = able.map((_, place) => [clean[place][b], other[place][b]]);
      points.forEach((_, place) => { counts[place] += onFront(points, place); });
    }
    able.forEach((row, place) => { (row.pFront ??= {})[accuracy] = counts[place] / RESAMPLES; });
  }
}
