// What the reader chose. It stands in the address, so that a link opens the same view.
const state = { run: 0, suite: 0, grade: '', eps: 0, by: 'certified', sort: 'certified', down: true, family: '', text: '', setting: '', model: '', view: '' };
const SORTS = ['setting', ...Object.keys(METRICS), 'difference', 'pBest', 'pFront', 'seeds'];

// Reads the address; whatever does not fit the data gets its usual value.
function restore(data) {
  const given = new URLSearchParams(location.hash.slice(1));
  const place = (name, count) => { const at = Number(given.get(name)); return Number.isInteger(at) && at > 0 && at < count ? at : 0; };
  state.run = place('run', data.runs.length);
  state.suite = place('suite', data.runs[state.run].suites.length);
  const suite = data.runs[state.run].suites[state.suite];
  const among = (name, words, usual) => (words.includes(given.get(name)) ? given.get(name) : usual);
  state.grade = among('grade', suite.grades, suite.grade);
  state.eps = epsOf(suite, given.get('eps'));
  state.by = among('by', COMPARED, suite.grades.length ? 'certified' : 'robust');
  state.sort = among('sort', SORTS, state.by);
  state.down = given.get('order') !== 'up';
  state.family = among('family', suite.settings.map((setting) => setting.family), '');
  state.text = given.get('text') || '';
  state.setting = among('setting', suite.settings.map((setting) => setting.id), '');
  state.model = among('model', suite.models.map((model) => model.name), '');
  state.view = among('view', ['setting', 'model'], '');
  if (state.model) state.setting = suite.models[suite.place(state.model)].setting;
}

function epsOf(suite, text) {
  const eps = Number(text);
  if (text === null || !Number.isFinite(eps) || eps < 0 || eps > suite.top) return suite.eps[suite.chosen][0];
  const near = suite.eps.find(([value]) => Math.abs(value - eps) <= 1e-9 * value);
  return near ? near[0] : eps;
}

function remember() {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (name === 'down') { if (!value) words.set('order', 'up'); }
    else if (value !== '' && value !== 0) words.set(name, String(value));
  }
  if (state.eps === 0) words.set('eps', '0');
  history.replaceState(null, '', `#${words}`);
}
