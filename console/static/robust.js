// Axes that a few spikes do not flatten.

// Fewer values than this show no rule from which a spike could stand out.
const ENOUGH = 10;

// The upper end of an axis: null where no value stands out by a factor of three.
export function robustEnd(values) {
  const sorted = values.filter((v) => v > 0).sort((a, b) => a - b);
  if (sorted.length < ENOUGH) return null;
  const usual = sorted[Math.floor(0.9 * (sorted.length - 1))];
  return sorted.at(-1) > 3 * usual ? rounded(1.5 * usual) : null;
}

// Up to the next 1, 1.5, 2, 3, 5 or 8 times a power of ten.
function rounded(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 1.5, 2, 3, 5, 8].find((step) => value / power <= step * 1.0001) ?? 10);
}

// The highest point of each run beyond `end`, as [time, value].
export function spikes(points, end) {
  const found = [];
  let run = null;
  for (const point of points) {
    if (!(point[1] > end)) run = null;
    else if (!run) found.push((run = [...point]));
    else if (point[1] > run[1]) [run[0], run[1]] = point;
  }
  return found;
}
