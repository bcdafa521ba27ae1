// A placement's colour on light paper, and a paler one of the same hue that is read on dark.

const DARK_PAPER = "#17191d";

function channels(hex) {
  return [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16) / 255);
}

function luminance(rgb) {
  const [r, g, b] = rgb.map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one, other) {
  const [a, b] = [luminance(one), luminance(other)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}

// The least mixture with white that stands out on dark paper as text must.
function onDark(hex) {
  const paper = channels(DARK_PAPER), own = channels(hex);
  for (let share = 0; share < 1; share += 0.05) {
    const mixed = own.map(c => c + share * (1 - c));
    if (contrast(mixed, paper) >= 5) {
      return "#" + mixed.map(c => Math.round(255 * c).toString(16).padStart(2, "0")).join("");
    }
  }
  return "#ffffff";
}

// A colour of a page that is light or dark; a file on paper of its own takes the first.
function ink(look, forFile) {
  return forFile ? look.colour : `light-dark(${look.colour}, ${look.light || onDark(look.colour)})`;
}
