// The data that the page embeds: read once, arrays inflated, settings joined with their models.
async function inflate(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Response(stream).arrayBuffer();
}

async function load() {
  const data = JSON.parse(byId('data').textContent);
  const buffer = await inflate(data.arrays);
  const words = ([start, size]) => new Uint16Array(buffer, start, size);
  for (const run of data.runs) {
    for (const suite of run.suites) {
      suite.run = run;
      suite.labels = words(suite.labels);
      suite.models.forEach((model) => unpack(suite, model, words, buffer));
      const places = new Map(suite.models.map((model, place) => [model.name, place]));
      suite.place = (name) => places.get(name);
      suite.byId = new Map(suite.settings.map((setting) => [setting.id, setting]));
      for (const setting of suite.settings) {
        setting.every = suite.models.filter((model) => model.setting === setting.id);
        setting.members = setting.every.filter((model) => !model.copy); // those that statistics count
      }
      const held = new Set(suite.models.flatMap((model) => Object.keys(model.radius)));
      suite.grades = ['float', 'real', 'nominal'].filter((grade) => held.has(grade));
      suite.top = suite.eps[suite.eps.length - 1][0];
      suite.cache = new Map();
    }
  }
  return data;
}

function unpack(suite, model, words, buffer) {
  const bits = new Uint8Array(buffer, model.bounds.correct[0], model.bounds.correct[1]);
  model.correct = Uint8Array.from({ length: suite.samples }, (_, i) => (bits[i >> 3] >> (i & 7)) & 1);
  model.distance = words(model.bounds.distance);
  model.radius = {};
  for (const [grade, place] of Object.entries(model.bounds.radius)) model.radius[grade] = words(place);
  const first = model.radius[model.grade];
  for (const grade of Object.keys(model.radius)) {
    if (grade !== model.grade) model.radius[grade] = model.radius[grade].map((code, i) => code + first[i]); // modulo 2^16
  }
}

const INFINITE = 65535;

// Where an eps stands among the codes of bounds: a bound is above it if its code is. Exact at the suite's eps.
function position(suite, eps) {
  const knots = suite.knots;
  let above = 1;
  while (above < knots.length - 1 && knots[above] < eps) above += 1;
  return suite.cells * (above - 1 + (eps - knots[above - 1]) / (knots[above] - knots[above - 1]));
}

// The bound of a code, up to a cell.
function bound(suite, code) {
  if (code === INFINITE) return Infinity;
  const place = code / suite.cells;
  const below = Math.min(Math.floor(place), suite.knots.length - 2);
  return suite.knots[below] + (place - below) * (suite.knots[below + 1] - suite.knots[below]);
}

// The place of an eps in the suite's grid, or -1 between two of them.
const gridPlace = (suite, eps) => suite.eps.findIndex(([value]) => value === eps);

// The grade whose radii count for a model: each model's own where the suite's headline grade is chosen.
const gradeOf = (suite, model, grade) => (grade === suite.grade ? model.grade : grade);
const radii = (suite, model, grade) => model.radius[gradeOf(suite, model, grade)] || null;
