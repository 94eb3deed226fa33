// Intervals from resamples, as lipbench/report/resampling.py: samples drawn with replacement, the same for all models,
// and the mean over k seeds moved by Student's t with k - 1 degrees of freedom times its standard error.
const RESAMPLES = 300; // on the page; the CSV files have those of resampling.py
const TAIL = 0.025;

// Uniform numbers in [0, 1): mulberry32, the same on every visit.
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const gaussian = (random) => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

// What a computation gave, kept with the suite.
function kept(suite, key, compute) {
  if (!suite.cache.has(key)) {
    if (suite.cache.size > 400) suite.cache.clear();
    suite.cache.set(key, compute());
  }
  return suite.cache.get(key);
}

// How often each resample holds each sample: RESAMPLES rows of n.
const sampleWeights = (suite) => kept(suite, 'weights', () => {
  const n = suite.samples;
  const random = generator(20260);
  const weights = new Float32Array(RESAMPLES * n);
  for (let b = 0; b < RESAMPLES; b += 1) for (let i = 0; i < n; i += 1) weights[b * n + Math.floor(random() * n)] += 1;
  return weights;
});

// For each setting the coefficients of its k seeds, RESAMPLES rows of k that add up to 0.
const seedWeights = (suite) => kept(suite, 'seeds', () => {
  const random = generator(20261);
  return suite.settings.map((setting) => {
    const k = setting.members.length;
    const found = new Float64Array(RESAMPLES * k);
    for (let b = 0; b < RESAMPLES && k > 1; b += 1) {
      const z = Array.from({ length: k }, () => gaussian(random));
      const mean = z.reduce((sum, value) => sum + value, 0) / k;
      let chi2 = 0;
      for (let j = 1; j < k; j += 1) chi2 += gaussian(random) ** 2;
      const scale = Math.sqrt(chi2 / (k - 1)) * Math.sqrt(k * (k - 1));
      z.forEach((value, j) => { found[b * k + j] = (value - mean) / scale; });
    }
    return found;
  });
});

// A mean over samples and seeds in each resample. vectors: of each member what its samples add, numbers (n,).
function resampledMean(suite, place, vectors) {
  const n = suite.samples;
  const k = vectors.length;
  const weights = sampleWeights(suite);
  const seeds = seedWeights(suite)[place];
  const mean = new Float32Array(n);
  const own = new Float64Array(k);
  vectors.forEach((vector, j) => {
    for (let i = 0; i < n; i += 1) { mean[i] += vector[i] / k; own[j] += vector[i] / n; }
  });
  const drawn = new Float64Array(RESAMPLES);
  for (let b = 0; b < RESAMPLES; b += 1) {
    let sum = 0;
    for (let i = 0, at = b * n; i < n; i += 1) sum += weights[at + i] * mean[i];
    let moved = 0;
    for (let j = 0; j < k; j += 1) moved += seeds[b * k + j] * own[j];
    drawn[b] = sum / n + moved;
  }
  return drawn;
}

// The mean over seeds of medians, in each resample. lists: of each member [values, places of samples], ascending.
function resampledMedian(suite, place, lists) {
  const n = suite.samples;
  const weights = sampleWeights(suite);
  const seeds = seedWeights(suite)[place];
  const own = lists.map(([values]) => quantile(values, 0.5));
  const drawn = new Float64Array(RESAMPLES);
  for (let b = 0; b < RESAMPLES; b += 1) {
    lists.forEach(([values, places], j) => {
      let total = 0;
      for (const i of places) total += weights[b * n + i];
      let upto = 0;
      let at = -1;
      while (upto * 2 < total && at < places.length - 1) { at += 1; upto += weights[b * n + places[at]]; }
      drawn[b] += (at < 0 ? NaN : values[at]) / lists.length + seeds[b * lists.length + j] * own[j];
    });
  }
  return drawn;
}

// A quantile of ascending values, between neighbours in proportion.
function quantile(sorted, share) {
  if (!sorted.length) return NaN;
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

function interval95(drawn) {
  const sorted = Float64Array.from(drawn).sort();
  return [quantile(sorted, TAIL), quantile(sorted, 1 - TAIL)];
}

// The exact interval of a share of count in n: Clopper and Pearson 1934, by bisection of the binomial tails.
const logFactorials = [0];
function clopperPearson(count, n) {
  if (!n) return [NaN, NaN];
  while (logFactorials.length <= n) logFactorials.push(logFactorials[logFactorials.length - 1] + Math.log(logFactorials.length));
  const tail = (p, from, to) => {
    let sum = 0;
    for (let i = from; i <= to; i += 1) {
      sum += Math.exp(logFactorials[n] - logFactorials[i] - logFactorials[n - i] + i * Math.log(p) + (n - i) * Math.log1p(-p));
    }
    return sum;
  };
  const solve = (rises, below) => {
    let [low, high] = [0, 1];
    for (let step = 0; step < 40; step += 1) {
      const middle = (low + high) / 2;
      if (below(middle) < TAIL === rises) low = middle; else high = middle;
    }
    return (low + high) / 2;
  };
  return [
    count === 0 ? 0 : solve(true, (p) => tail(p, count, n)),
    count === n ? 1 : solve(false, (p) => tail(p, 0, count)),
  ];
}
