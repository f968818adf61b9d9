// What of a page is hard to read: texts whose contrast with what lies behind them is below WCAG's AA,
// headings that skip a level, pictures without a text; controls, groups and landmarks without a name;
// a role or formula of MyST that was not read, a head of a table that says nothing, formulas that hold the Tab key.

() => {
  const faults = [];
  const numbers = (colour) => {
    const found = colour.match(/[\d.]+/g).map(Number);
    return found.length < 4 ? [...found, 1] : found;
  };
  const light = (colour) => {
    const linear = colour.map((v) => (v / 255 <= 0.04 ? v / 255 / 12.92
      : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const onto = (back, [r, g, b, a]) => [r, g, b].map((v, i) => a * v + (1 - a) * back[i]);
  const upTo = (e) => (e ? [...upTo(e.parentElement), e] : []);

  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode, e = text.parentElement;
    if (text.data.includes("$") && !e.closest("pre, code, script")) faults.push(`not read: ${text.data}`);
    if (!text.data.trim() || !e.checkVisibility() || e.closest("mjx-container, script, style, svg"))
      continue;
    const style = getComputedStyle(e), styles = upTo(e).map((each) => getComputedStyle(each));
    const opacity = styles.reduce((product, each) => product * each.opacity, 1);
    const back = styles.reduce((c, each) => onto(c, numbers(each.backgroundColor)), [255, 255, 255]);
    const [r, g, b, a] = numbers(style.color);
    const ink = light(onto(back, [r, g, b, a * opacity])), paper = light(back);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (opacity > 0.1 && contrast < (large ? 3 : 4.5))
      faults.push(`contrast ${contrast.toFixed(1)}: ${text.data.trim()}`);
  }

  const levels = [...document.querySelectorAll("article :is(h1, h2, h3, h4, h5, h6)")]
    .map((heading) => +heading.tagName[1]);
  if (levels.filter((level) => level === 1).length !== 1) faults.push(`titles: ${levels}`);
  levels.forEach((level, i) => {
    if (i && level > levels[i - 1] + 1) faults.push(`heading ${i}: ${levels}`);
  });
  for (const image of document.images) if (!image.alt) faults.push(`no text: ${image.src}`);
  for (const e of document.querySelectorAll("article :is(input, select, button, a)"))
    if (!(e.textContent.trim() || e.ariaLabel || e.labels?.length))
      faults.push(`no name: ${e.outerHTML}`);
  for (const e of document.querySelectorAll("aside, [role=group], [role=heading]:not([aria-level])"))
    if (!e.ariaLabel) faults.push(`no name or level: ${e.outerHTML.slice(0, 200)}`);
  for (const e of document.querySelectorAll("article thead"))
    if (e.checkVisibility() && !e.textContent.trim()) faults.push(`no head: ${e.outerHTML}`);
  for (const [role] of document.body.innerText.matchAll(/\{\w+\}`/g)) faults.push(`not read: ${role}`);
  for (const e of document.querySelectorAll("mjx-container[tabindex]")) faults.push(`a stop: ${e.innerText}`);
  return faults;
}
