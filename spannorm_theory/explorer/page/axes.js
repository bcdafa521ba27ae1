// Ranges and ticks of axes. Ordinates of a logarithmic axis are base-10 logarithms.

// The range of a panel: all its values, not less than a factor of two, with a little room.
function range(values, log) {
  if (!values.length) return [0, 1];
  let low = Math.min(...values), high = Math.max(...values);
  if (!log) { low = Math.min(low, 0); high = Math.max(high, 1); }
  const least = log ? 0.6 : 1;
  if (high - low < least) {
    const middle = (high + low) / 2;
    [low, high] = [middle - least / 2, middle + least / 2];
  }
  const room = (high - low) * 0.05;
  return [low - room, high + room];
}

// Steps of 1, 2 or 5 times a power of ten, at most `count` of them between two numbers.
function linearTicks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= rough * 0.9999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) ticks.push(i * step);
  return ticks.map(y => ({ at: y, label: String(Number(y.toPrecision(6))).replace("-", "−") }));
}

// Powers of ten, far enough apart; within two decades also 2 and 5 times one.
function logTicks(low, high, count) {
  if (high - low < 1.7) {
    const ticks = [];
    for (let e = Math.floor(low); e <= Math.ceil(high); e++) {
      for (const m of high - low < 0.9 ? [1, 1.5, 2, 3, 5, 7] : [1, 2, 5]) ticks.push(e + Math.log10(m));
    }
    return ticks.filter(y => y >= low && y <= high).map(y => ({ at: y, label: shownValue(y, true) }));
  }
  const step = Math.max(1, linearTicks(low, high, count).map(t => t.at)
    .reduce((least, at, i, all) => i ? Math.min(least, at - all[i - 1]) : least, Infinity));
  const ticks = [];
  for (let e = Math.ceil(low / step) * step; e <= high; e += step) ticks.push(Math.round(e));
  return ticks.map(y => ({ at: y, label: y >= -3 && y <= 3 ? String(10 ** y) : "10" + raised(y) }));
}
