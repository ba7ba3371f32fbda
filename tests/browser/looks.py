"""The sizes of windows, and what a browser is asked of every page."""

PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}

# Texts whose contrast with what is behind them is below 4.5.
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const light = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) =>
      v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const below = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
  };
  const weak = [];
  for (const e of document.querySelectorAll("body *")) {
    const text = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
    if (!text || !e.checkVisibility() || e.closest("script, style, .skip")) continue;
    const style = getComputedStyle(e);
    const ink = light(e.namespaceURI.includes("svg") ? style.fill : style.color);
    const [a, b] = [ink, light(below(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) weak.push(`${e.tagName}.${e.className} ${e.textContent.slice(0, 30)}`);
  }
  return weak;
}"""
