// The controls: run, suite, grade, eps, what the best is by; and the filters of the table.
const GRADES = { float: 'float: as the network runs', real: 'real: in exact arithmetic', nominal: 'nominal: if the claim is true' };

function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => element('option', { value, selected: value === chosen }, text)));
  select.value = chosen;
  select.closest('label').hidden = entries.length < 2;
}

function drawControls(data, suite, change) {
  const run = data.runs[state.run];
  options(byId('run'), data.runs.map((one, place) => [String(place), one.title]), String(state.run));
  options(byId('suite'), run.suites.map((one, place) => [String(place), `${one.name} (${one.norm})`]), String(state.suite));
  options(byId('grade'), suite.grades.map((grade) => [grade, GRADES[grade]]), state.grade);
  options(byId('by'), COMPARED.filter((metric) => suite.grades.length || ['clean', 'robust'].includes(metric)).map((metric) => [metric, METRICS[metric].long]), state.by);
  options(byId('family'), [['', 'all'], ...new Set(suite.settings.map((setting) => setting.family))].map((entry) => (Array.isArray(entry) ? entry : [entry, entry])), state.family);
  byId('text').value = state.text;
  byId('unit').textContent = suite.unit;
  byId('eps').max = STOPS;
  replace(byId('ticks'), suite.eps.map(([value, text]) => element('option', { value: stopOf(suite, value), label: text })));
  replace(byId('grid'), suite.eps.map(([value, text]) => element('button', { type: 'button', 'data-eps': String(value), 'data-key': `eps ${text}`, onclick: () => change({ eps: value }) }, text)));
  drawEps(suite);
}

const STOPS = 240; // places of the slider
const stopOf = (suite, eps) => Math.round((STOPS * eps) / suite.top);

// The eps of a place of the slider: the suite's own where it is the nearest place to one.
function epsAt(suite, stop) {
  const near = suite.eps.find(([value]) => stopOf(suite, value) === stop);
  return near ? near[0] : (suite.top * stop) / STOPS;
}

function drawEps(suite) {
  const slider = byId('eps');
  const text = epsText(suite, state.eps);
  if (Number(slider.value) !== stopOf(suite, state.eps)) slider.value = stopOf(suite, state.eps);
  slider.setAttribute('aria-valuetext', `eps ${text}`);
  byId('eps-value').textContent = text;
  for (const button of byId('grid').querySelectorAll('button')) button.setAttribute('aria-pressed', String(Number(button.dataset.eps) === state.eps));
}

// An eps as a reader types it: 0.25 or 36/255; NaN for anything that the slider does not reach.
function typedEps(suite, text) {
  const [above, below = '1', ...more] = text.split('/').map((part) => part.trim());
  const eps = Number(above || NaN) / Number(below || NaN);
  return !more.length && eps >= 0 && eps <= suite.top ? epsOf(suite, String(eps)) : NaN;
}

function listen(suiteNow, change) {
  const number = (name) => (event) => change({ [name]: Number(event.target.value), afresh: true });
  byId('run').addEventListener('change', (event) => change({ run: Number(event.target.value), suite: 0, afresh: true }));
  byId('suite').addEventListener('change', number('suite'));
  for (const name of ['grade', 'by', 'family']) byId(name).addEventListener('change', (event) => change({ [name]: event.target.value }));
  byId('text').addEventListener('input', (event) => change({ text: event.target.value }));
  byId('eps').addEventListener('input', (event) => change({ eps: epsAt(suiteNow(), Number(event.target.value)), dragging: true }));
  byId('exact').addEventListener('change', (event) => {
    const eps = typedEps(suiteNow(), event.target.value);
    const wrong = Number.isNaN(eps) && event.target.value !== '';
    if (wrong) event.target.setAttribute('aria-invalid', 'true'); else event.target.removeAttribute('aria-invalid');
    byId('exact-error').textContent = wrong ? `expected 0 to ${suiteNow().eps[suiteNow().eps.length - 1][1]}, such as 0.1 or 36/255` : '';
    if (!Number.isNaN(eps)) change({ eps });
  });
}
