// The table: one row for each setting, mean over its seeds.
const COLUMNS = [
  { key: 'setting', title: 'setting', about: 'loss and hyperparameters' },
  { key: 'strip', title: '0 … 100 %' },
  ...Object.entries(METRICS).map(([key, metric]) => ({ key, title: metric.title, metric: key })),
  { key: 'difference', title: 'difference to best' },
  { key: 'pBest', title: 'P(best)' },
  { key: 'pFront', title: 'P(front)' },
  { key: 'seeds', title: 'seeds' },
];

function sortValue(row, key) {
  if (key === 'setting') return row.setting.label;
  if (key === 'seeds') return row.setting.seeds;
  if (key === 'pBest') return row.pBest;
  if (key === 'pFront') return row.pFront && row.pFront.certified;
  return row[key] && row[key].value;
}

function sorted(rows) {
  const order = (a, b) => {
    const [left, right] = [sortValue(a, state.sort), sortValue(b, state.sort)];
    if (!known(left) || !known(right)) return known(right) - known(left); // n/a last, whichever way
    const by = typeof left === 'string' ? left.localeCompare(right, 'en', { numeric: true }) : left - right;
    return state.down ? -by : by;
  };
  return rows.map((row, place) => [row, place]).sort(([a, i], [b, j]) => order(a, b) || i - j).map(([row]) => row);
}

const matches = (setting) => (!state.family || setting.family === state.family)
  && `${setting.label} ${setting.long}`.toLowerCase().includes(state.text.toLowerCase());

// The headings are made once for each suite; each sorts by its column, and again the other way round.
function tableHead(refresh) {
  return COLUMNS.map(({ key, title }) => {
    if (key === 'strip') return element('th', { scope: 'col', role: 'columnheader', class: 'strip' }, title);
    const sort = () => {
      state.down = state.sort === key ? !state.down : key !== 'setting';
      state.sort = key;
      refresh();
    };
    return element('th', { scope: 'col', role: 'columnheader', class: key, 'data-column': key, 'data-title': title }, element('button', { type: 'button', onclick: sort }, title, element('span', { class: 'arrow', 'aria-hidden': 'true' })));
  });
}

function markSorting(head) {
  for (const cell of head.querySelectorAll('[data-column]')) {
    const on = cell.dataset.column === state.sort;
    if (on) cell.setAttribute('aria-sort', state.down ? 'descending' : 'ascending'); else cell.removeAttribute('aria-sort');
    cell.querySelector('.arrow').textContent = on ? (state.down ? ' ▾' : ' ▴') : '';
  }
}

function tableRow(found, row, open) {
  const { setting } = row;
  const chosen = setting.id === state.setting;
  const data = (key, title, ...content) => element('td', { role: 'cell', class: key, 'data-title': title }, content);
  const value = (metric, cell) => [
    element('span', { class: 'value' }, METRICS[metric].show(cell.value)), ' ', element('span', { class: 'ends' }, ends(metric, cell))];
  const cells = COLUMNS.slice(2).map(({ key, title, metric }) => {
    if (metric) return data(key, title, value(metric, row[metric]));
    if (key === 'difference') return data(key, title, differenceText(found, row));
    if (key === 'pBest') return data(key, title, known(row.pBest) ? chance(row.pBest) : found.whole ? MISSING : '…');
    if (key === 'pFront') return data(key, title, row.pFront ? chance(row.pFront.certified ?? row.pFront.robust) : found.whole ? MISSING : '…');
    return data(key, title, String(setting.seeds));
  });
  return element('tr', { role: 'row', class: `slot-${setting.slot}${chosen ? ' chosen' : ''}`, 'data-setting': setting.id, onclick: (event) => { if (!event.target.closest('button')) open(setting.id); } },
    element('th', { scope: 'row', role: 'rowheader', class: 'setting' },
      element('button', { type: 'button', class: 'open-setting', 'data-key': `open ${setting.id}`, 'aria-current': chosen ? 'true' : null, title: setting.long, onclick: () => open(setting.id) }, setting.label),
      setting.grade !== 'none' ? null : element('span', { class: 'quiet' }, ' no certificate')),
    element('td', { role: 'cell', class: 'strip', 'data-title': '0 … 100 %' }, strip(row)), cells);
}

function differenceText(found, row) {
  if (row === found.best) return element('strong', null, 'best');
  if (!row.difference) return found.whole ? MISSING : '…';
  const show = (value) => signed(METRICS[found.by].show(value));
  return [element('span', { class: 'value' }, show(row.difference.value)), ' ',
    element('span', { class: 'ends' }, known(row.difference.low) ? `[${show(row.difference.low)}, ${show(row.difference.high)}]` : '')];
}

// Whether a setting cannot be told apart from the best one at 95 %.
const alike = (found, row) => row !== found.best && row.difference && known(row.difference.low)
  && row.difference.low <= 0 && row.difference.high >= 0;

function drawTable(found, body, count, open) {
  const shown = sorted(found.rows).filter((row) => matches(row.setting));
  replace(body, shown.map((row) => tableRow(found, row, open)));
  const all = found.rows.length;
  count.textContent = shown.length === all ? counted(all, 'setting') : `${shown.length} of ${counted(all, 'setting')}`;
}
