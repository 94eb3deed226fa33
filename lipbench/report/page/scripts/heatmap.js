// Two hyperparameters at once: certified accuracy and gap for each pair of values.
function heatMaps(suite, found, kind) {
  const [first, second] = kind.names;
  const values = (name) => [...new Set(kind.members.map((row) => row.setting.values[name]))].sort((a, b) => a - b);
  const axis = (name) => suite.axes[kind.number][name].symbol;
  const map = (metric) => {
    const cells = kind.members.map((row) => row[metric].value).filter(known);
    const [low, high] = [Math.min(...cells), Math.max(...cells)];
    const cell = (a, b) => {
      const row = kind.members.find((one) => one.setting.values[first] === a && one.setting.values[second] === b);
      const value = row && row[metric].value;
      const node = element('td', null, row ? METRICS[metric].show(value) : 'none', ' ', element('span', { class: 'ends' }, row ? ends(metric, row[metric]) : ''));
      if (known(value)) node.style.setProperty('--heat', `${Math.round((42 * (value - low)) / (high - low || 1))}%`);
      return node;
    };
    return element('table', { class: 'heat' }, element('caption', null, `${METRICS[metric].long} (${metric === 'gap' ? 'points' : '%'})`),
      element('thead', null, element('tr', null, element('th', { scope: 'col' }, `${axis(first)} \\ ${axis(second)}`), values(second).map((b) => element('th', { scope: 'col' }, general(b, 4))))),
      element('tbody', null, values(first).map((a) => element('tr', null, element('th', { scope: 'row' }, general(a, 4)), values(second).map((b) => cell(a, b))))));
  };
  return element('section', { class: 'panel' }, element('h3', null, `${kindTitle(suite, kind)}: ${axis(first)} by ${axis(second)}`),
    suite.grades.length ? [map('certified'), map('gap')] : map('robust'),
    element('p', { class: 'note' }, 'The stronger the colour, the larger the number.'));
}
