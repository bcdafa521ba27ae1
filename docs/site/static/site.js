"use strict";
// formulas change the height of a page while they are set, and push what an address leads to out of sight: stay
// there until the reader begins to move
addEventListener("DOMContentLoaded", () => {
  const place = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!place) return;
  const stay = () => place.scrollIntoView({ behavior: "instant" });
  const watch = new ResizeObserver(() => requestAnimationFrame(stay));
  watch.observe(place.closest("article") ?? document.body);
  const moves = ["wheel", "touchstart", "keydown", "mousedown"];
  for (const move of moves) addEventListener(move, () => watch.disconnect(), { once: true });
});
