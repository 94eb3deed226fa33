// Elements of the page. Text only ever becomes text nodes and attributes: names come from files of others.
const SVG = 'http://www.w3.org/2000/svg';
let serial = 0;

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const element = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const shape = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const byId = (id) => document.getElementById(id);
const unique = (word) => `${word}-${(serial += 1)}`;

// A drawing with a text alternative: its title, and a sentence or two of what it shows.
function drawing(width, height, title, description, ...children) {
  const ids = [unique('title'), unique('desc')];
  return shape('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-labelledby': ids.join(' ') },
    shape('title', { id: ids[0] }, title), shape('desc', { id: ids[1] }, description), children);
}

// A table of text: the first column heads its rows.
function plainTable(caption, headings, rows, attributes) {
  const line = (row) => element('tr', null, row.map((cell, place) => element(place ? 'td' : 'th', place ? null : { scope: 'row' }, cell)));
  return element('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    element('table', attributes, element('caption', null, caption),
      element('thead', null, element('tr', null, headings.map((heading) => element('th', { scope: 'col' }, heading)))),
      element('tbody', null, rows.map(line))));
}

// Replaces what an element holds, and keeps the focus where it was if what had it is there again.
function replace(node, ...children) {
  const active = document.activeElement;
  const key = active && node.contains(active) ? active.dataset.key : undefined;
  node.replaceChildren(...children.flat(Infinity).filter(Boolean));
  if (key === undefined) return;
  const again = [...node.querySelectorAll('[data-key]')].find((one) => one.dataset.key === key);
  if (again) again.focus({ preventScroll: true });
}
