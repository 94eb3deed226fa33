// The picture in a row of the table: certified filled, robust open, clean a tick, seeds as dots, the gap shaded.
function strip(row) {
  const X = (share) => round(5 + 190 * share);
  const slot = row.setting.slot;
  const parts = [shape('line', { x1: X(0), x2: X(1), y1: 17.5, y2: 17.5, class: 'grid' })];
  const { certified, robust, clean } = row;
  if (known(certified.value) && robust.value > certified.value) {
    parts.push(shape('rect', { x: X(certified.value), y: 4.5, width: round(190 * (robust.value - certified.value)), height: 7, class: 'shade' }));
  }
  for (const cell of [certified, robust]) {
    if (known(cell.low)) parts.push(shape('line', { x1: X(cell.low), x2: X(cell.high), y1: 8, y2: 8, class: cell === certified ? 'bar' : 'thin' }));
  }
  if (known(clean.value)) parts.push(shape('line', { x1: X(clean.value), x2: X(clean.value), y1: 2, y2: 14, class: 'tick' }));
  if (known(robust.value)) parts.push(shape('circle', { cx: X(robust.value), cy: 8, r: 3.6, class: 'open' }));
  if (known(certified.value)) parts.push(shape('circle', { cx: X(certified.value), cy: 8, r: 3.6, class: 'filled' }));
  const dots = row.seeds.map((shares_) => shares_.certified ?? shares_.robust).filter(known);
  parts.push(dots.map((share) => shape('circle', { cx: X(share), cy: 17.5, r: 1.4, class: 'filled' })));
  return shape('svg', { viewBox: '0 0 200 20', class: `strip slot-${slot}`, 'aria-hidden': 'true' }, parts);
}
