// Closest calls: the samples whose adversarial input came closest to the certified radius, as pictures.
function callsOf(models, most) {
  return models.flatMap((model) => model.calls.map((call) => ({ ...call, model })))
    .sort((a, b) => a.ratio - b.ratio).slice(0, most);
}

const callWords = (call) => `sample ${call.sample}, class ${call.label}: adversarial distance ${fixed(call.distance, 4)} = ${fixed(call.ratio, 4)} × the certified radius ${fixed(call.radius, 4)}`;

function callFigure(call, named) {
  const picture = (uri, title) => element('figure', null, element('img', { src: uri, alt: `Sample ${call.sample}: ${title}`, width: 72, height: 72 }), element('figcaption', null, title));
  return element('div', { class: 'call' },
    element('div', { class: 'pictures' },
      call.original ? picture(call.original, `original, class ${call.label}`) : null,
      call.adversarial ? picture(call.adversarial, `adversarial, class ${call.predicted}`) : null,
      call.change ? picture(call.change, `change × ${general(call.factor)}`) : null),
    element('p', null, element('strong', null, `#${call.sample}, class ${call.label}`), named ? ` · ${call.model.name}` : '', element('br'),
      `distance ${fixed(call.distance, 4)}, radius ${fixed(call.radius, 4)}`, element('br'), `ratio ${fixed(call.ratio, 4)}`));
}

function drawCalls(suite, models, named) {
  const calls = callsOf(models, 6);
  if (!calls.length) return element('p', null, 'No sample has both a certificate and a known adversarial input.');
  const missing = suite.no_pictures || (calls.some((call) => call.original && !call.adversarial)
    ? 'the adversarial inputs are not in the run folder, or do not fit on the page' : calls.some((call) => !call.original) ? 'not all of them fit on the page' : '');
  return [element('p', null, 'The smallest adversarial distance / certified radius; below 1 a certificate would be false.',
    calls.some((call) => call.change) ? ' The change is magnified by the factor under it, about mid-grey.' : '', missing ? ` Pictures are missing: ${missing}.` : ''),
  element('div', { class: 'calls' }, calls.map((call) => callFigure(call, named)))];
}
