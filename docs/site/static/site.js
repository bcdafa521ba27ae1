"use strict";
// formulas grow while they are set, and push what an address leads to out of sight: go there again, unless the
// reader has begun to move
addEventListener("load", () => {
  let moved = false;
  const move = () => { moved = true; };
  for (const event of ["wheel", "touchmove", "keydown", "mousedown"]) addEventListener(event, move, { once: true });
  window.MathJax?.startup?.promise.then(() => {
    const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (place && !moved) place.scrollIntoView({ behavior: "instant" });
  });
});
