// What is drawn when: at once what the eyes follow, and after a pause what takes longer, or is read aloud.
const PAUSE = 120; // ms

function answer(suite, found) {
  const { best, by } = found;
  if (!best) return 'No setting has a number here.';
  const metric = METRICS[by];
  const others = found.rows.filter((row) => alike(found, row)).sort((a, b) => (b.pBest ?? 0) - (a.pBest ?? 0));
  const words = [`At eps ${epsText(suite, found.eps)} (${suite.unit}), ${best.setting.label} has the ${metric.low ? 'smallest' : 'highest'} ${metric.long}: ${withEnds(by, best[by])}`];
  words.push(known(best.pBest) ? `; it is the best in ${chance(best.pBest)} of resamples. ` : '. ');
  words.push(others.length ? `At 95 % it cannot be told apart from ${others.map((row) => `${row.setting.label}${known(row.pBest) ? ` (best in ${chance(row.pBest)})` : ''}`).join('; ')}. ` : 'Every other setting is worse at 95 %. ');
  const seeds = [...new Set(found.rows.map((row) => row.setting.seeds))].sort((a, b) => a - b);
  words.push(`n = ${suite.n} samples for each model, ${seeds.length > 1 ? `${seeds[0]} to ${seeds[seeds.length - 1]} seeds` : counted(seeds[0], 'seed')} for each setting.`);
  if (seeds[0] === 1) words.push(' With one seed, an interval covers the samples alone.');
  if (gridPlace(suite, found.eps) < 0) {
    words.push(suite.minimal ? ' Between the eps of the suite, robust accuracy rests on the minimal-norm attacks alone.' : ' Between the eps of the suite, robust accuracy is an upper bound from attacks at other eps.');
    if (suite.samples < suite.n) words.push(` Numbers between them are of ${suite.samples} of the ${suite.n} samples.`);
  }
  return words.join('');
}

function nearest(suite, openModel) {
  const [call] = callsOf(suite.models, 1);
  if (!call) return [];
  return ['Closest call of all: ', element('button', { type: 'button', class: 'open-model', onclick: () => openModel(call.model.name) }, call.model.name), `, ${callWords(call)}.`];
}

function begin(data) {
  let suite;
  let timer = 0;
  let found;
  const drawHead = () => { replace(byId('heading'), tableHead(() => change({}))); };
  const open = (setting) => {
    change({ setting, model: suite.byId.get(setting).every[0].name, view: 'setting' });
    show('setting-title');
  };
  const openModel = (model) => {
    change({ setting: suite.models[suite.place(model)].setting, model, view: 'model' });
    show('model-title');
  };
  function show(id) {
    settle();
    byId(id).focus({ preventScroll: true });
    byId(id).scrollIntoView();
  }
  function draw(whole) {
    found = analyse(suite, state.eps, state.grade, state.by, whole);
    drawEps(suite);
    markSorting(byId('heading'));
    drawTable(found, byId('settings'), byId('count'), open);
    drawCurves(suite, found, byId('curves'));
    drawFront(suite, found, byId('front'), open);
    if (!whole) return;
    byId('answer').textContent = answer(suite, found);
    drawEffects(suite, found, byId('effects'));
    drawSetting(suite, found, byId('setting'), openModel);
    drawModel(suite, found, byId('model'));
    remember();
    document.body.dataset.settled = String(Number(document.body.dataset.settled || 0) + 1);
  }
  function settle() {
    clearTimeout(timer);
    timer = 0;
    draw(true);
  }
  function start() {
    suite = data.runs[state.run].suites[state.suite];
    if (!state.setting) {
      const { best } = analyse(suite, state.eps, state.grade, state.by, false);
      state.setting = (best ? best.setting : suite.settings[0]).id;
    }
    if (!state.model) state.model = suite.byId.get(state.setting).every[0].name;
    drawControls(data, suite, change);
    drawHead();
    replace(byId('nearest'), nearest(suite, openModel));
    byId('notation').textContent = suite.notation;
    settle();
  }
  function change({ afresh, dragging, ...chosen }) {
    Object.assign(state, chosen);
    if (chosen.by) { state.sort = chosen.by; state.down = !METRICS[chosen.by].low; }
    if (afresh) {
      const next = data.runs[state.run].suites[state.suite];
      Object.assign(state, { grade: next.grade, eps: next.eps[next.chosen][0], family: '', text: '', setting: '', model: '' });
      start();
    } else if (dragging) {
      draw(false);
      clearTimeout(timer);
      timer = setTimeout(settle, PAUSE);
    } else settle();
  }
  restore(data);
  start();
  if (state.view) byId(state.view).scrollIntoView();
  listen(() => suite, change);
  addEventListener('hashchange', () => { restore(data); start(); });
}

// Paper cannot be opened: everything that is folded is unfolded for print, and folded again behind it.
function unfoldForPrint() {
  const folded = new Set();
  addEventListener('beforeprint', () => {
    for (const node of document.querySelectorAll('details:not([open])')) {
      folded.add(node);
      node.open = true;
    }
  });
  addEventListener('afterprint', () => {
    for (const node of folded) node.open = false;
    folded.clear();
  });
}

unfoldForPrint();
load().then(begin).catch((error) => {
  byId('answer').textContent = `This browser cannot read the page's data (${error.message}); the tables below and the files beside it hold every number.`;
  throw error;
});
