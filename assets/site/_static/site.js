// The controls of a picture choose one of its recorded files, and a bet opens its answer.

for (const box of document.querySelectorAll(".moving")) {
  const shown = JSON.parse(box.querySelector("script").textContent);
  const form = box.querySelector("form"), figure = form.nextElementSibling;
  const [phone, image, caption] = figure.querySelectorAll("source, img, figcaption");
  const folder = image.getAttribute("src").replace(/[^/]*$/, "");
  const controls = [...box.querySelectorAll(".control")].map((label) => {
    const range = label.querySelector("input[type=range]"), menu = label.querySelector("select");
    if (menu) return { count: menu.length, at: () => menu.selectedIndex };
    if (!range) {
      const choices = [...label.querySelectorAll("input")];
      return { count: choices.length, at: () => choices.findIndex((each) => each.checked) };
    }
    const labels = JSON.parse(range.dataset.labels), output = label.querySelector("output");
    return { count: labels.length, at: () => {
      output.textContent = labels[range.value];
      range.setAttribute("aria-valuetext", labels[range.value]);
      return +range.value;
    } };
  });
  const show = () => {
    const now = shown[controls.reduce((sum, { count, at }) => sum * count + at(), 0)];
    phone.srcset = `${folder}${now[1]} 2x`;
    image.src = folder + now[0];
    [,, image.alt, caption.textContent] = now;
  };
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("input", () => {    // the first move fetches the rest, so none flickers
    const on = +matchMedia(phone.media).matches;
    for (const files of shown) new Image().src = folder + files[on];
  }, { once: true });
  if (controls.length) show();    // a browser may remember how they stood

  const play = form.querySelector("button"), range = form.querySelector("input[type=range]");
  let timer = 0;
  play?.addEventListener("click", () => {
    clearInterval(timer);
    range.value = range.min;
    timer = setInterval(() => {
      range.value++;
      range.dispatchEvent(new Event("input", { bubbles: true }));
      if (range.value === range.max) clearInterval(timer);
    }, 600);
  });
}

// A bet opens what waits for it: a picture below it, and the outputs that page.py tagged with its name,
// unless these wait for another bet, too.
const bets = [...document.querySelectorAll(".bet")];
const plain = (answer) => answer?.replaceAll("−", "-").replace(/ \(.*/, "").toLowerCase().split(/[,·]/)
  .map((each) => each.replace(/[^\p{L}\p{N}.+-]|^\W*$/gu, "") || "none").join();
// What two answers to one question share, as `pt.commit` has it: numbers or texts, and how many; of chips, the sum.
const number = (text = "") => Number(text.replace("−", "-").replace(/%\s*$/, "").trim() || NaN);
const rounded = (number) => number.toLocaleString("en", { maximumSignificantDigits: 2 });
const names = new Set([...document.querySelectorAll("table.dataframe :is(th, td)")].map((each) => each.textContent.toLowerCase()));
const form = (answer) => {
  const parts = answer.split(","), chips = parts.map((each) => number(each.split(":")[1]));
  if (!chips.every((each) => each >= 0)) return parts.map((each) => isNaN(number(each))).join();
  const known = parts.every((each) => names.has(each.split(":")[0].trim().toLowerCase()));
  return `, ${Math.round(chips.reduce((sum, each) => sum + each))} in all${known ? ", by the names of the table" : ""}`;
};
for (const bet of bets) {
  const name = bet.dataset.name, buttons = bet.querySelectorAll("button");
  const told = [bet, document.getElementById(`measured-${name}`)].map((each) => each?.querySelector(".said"));
  const truth = told.findLast(Boolean)?.parentElement.lastChild.textContent.trim().replace(/^It is /, "");
  const link = bet.querySelector("[role=status] a");
  const off = (number) => Math.abs(parseFloat(number) - parseFloat(truth));
  const least = Math.min(...[...buttons].map((each) => off(each.textContent)));
  const open = () => {
    const waiting = [...bet.closest(".cell_output, section").querySelectorAll(".after-bet")];
    bet.classList.add("made");
    for (const cell of document.getElementsByClassName(`tag_after-${name}`))
      if (bets.every((each) => each.matches(".made") || !cell.classList.contains(`tag_after-${each.dataset.name}`)))
        waiting.push(cell.querySelector(":scope > details:last-of-type"));
    for (const each of waiting) each.open = true;
  };
  link?.addEventListener("click", (event) => {    // an answer that waits for another bet leads to that first
    const answer = document.getElementById(`measured-${name}`).closest(".cell");
    const other = bets.find((each) => !each.matches(".made") && answer.matches(`.tag_after-${CSS.escape(each.dataset.name)}`));
    if (!other) return;
    event.preventDefault();
    other.scrollIntoView();
  });
  const [field, sure] = bet.querySelectorAll("input"), share = field?.matches("[data-share]");
  const value = (text) => number(text) / (share && text.includes("%") ? 100 : 1);
  field?.addEventListener("input", () => {
    const like = form(field.placeholder), more = share ? ", from 0 to 1" : like.match(/, .*/) ?? "";
    const fits = form(field.value) === like && !(share && field.value.split(",").some((each) => value(each) < 0 || value(each) > 1));
    field.setCustomValidity(fits ? "" : `Expected: an answer such as ${field.placeholder}${more}.`);
  });
  const judge = (said) => {    // as `pt.compare` has it: a factor, if that is 2 or more
    const one = value(said), other = number(truth?.replace(/ \(.*/, "")), [low, high] = one < other ? [one, other] : [other, one];
    if (isNaN(one - other)) return "";
    return `: off by ${low > 0 && high >= 2 * low ? `a factor of ${rounded(high / low)}` : rounded(high - low)}`;
  };
  bet.addEventListener("keydown", (event) => event.target.matches("input") && event.key === "Enter" && buttons[0].click());
  for (const button of buttons) {
    button.addEventListener("click", () => {
      if ([field, sure].some((each) => each && !each.reportValidity())) return;
      const said = (field?.value ?? button.textContent).trim();
      const fits = (said) => plain(said) === plain(truth) || off(said) === least;    // of numbers the nearest
      const doubt = sure?.value ? `, ${rounded(100 * sure.value)}% sure` : "";
      for (const each of buttons) {
        each.setAttribute("aria-pressed", each === button);
        each.classList.toggle("right", !link && fits(each.textContent));
      }
      for (const each of told.filter(Boolean)) {
        const judged = !(link && bet.contains(each));    // beside what shows it
        each.textContent = judged && fits(said) ? `Right${doubt}. ` : `You said ${said}${doubt}${judged ? judge(said) : ""}. `;
        each.parentElement.hidden = false;
      }
      open();
    });
  }
}

// What stands below a result tells it, too, and waits with it, up to the next result or heading.
for (const measured of document.querySelectorAll("details .measured")) {
  const fold = measured.closest("details"), waiting = [];
  for (let each = fold.closest(".cell").nextElementSibling; each && !each.matches("section, :has(.measured)");
    each = each.nextElementSibling) waiting.push(each);
  const wait = () => { for (const each of waiting) each.hidden = !fold.open; };
  fold.addEventListener("toggle", wait);
  wait();
}

const isNumber = (text) => /^[\d+−–-]|^$/.test(text.trim()) && !/\p{L}{3}/u.test(text);

// On a phone the rows of a table of words are cards, and those of claims everywhere; cells are named if they are several.
const phone = matchMedia("(max-width: 480px)");
for (const table of document.querySelectorAll("article table.docutils")) {
  const names = [...table.querySelectorAll("thead th")].map((each) => each.textContent);
  const cells = [...table.querySelectorAll("td:not(:first-child)")];
  const numbers = cells.filter((each) => isNumber(each.textContent));
  if (!names[1]) continue;
  const words = numbers.length <= cells.length / 2;
  const show = () => table.classList.toggle("cards", words && (phone.matches || names[0] === "claim"));
  table.classList.add(words ? "words" : "numbers");
  phone.addEventListener("change", show);
  show();
  for (const cell of table.querySelectorAll("td"))
    if (cell.textContent.trim()) cell.dataset.name = names.length < 3 ? "" : names[cell.cellIndex].replace(/.$/, "$&: ");
}

// Columns of numbers stand at the right.
for (const table of document.querySelectorAll("article table")) {
  const rows = [...table.rows].map((row) => [...row.cells].reverse());    // a name may span rows
  const body = rows.filter(([cell]) => cell?.matches("tbody td"));
  body[0]?.forEach((_, n) => {
    const cells = body.map((row) => row[n]).filter((cell) => cell?.matches("td"));
    const number = cells.length && cells.every((cell) => isNumber(cell.textContent));
    for (const row of rows) if (number) row[n]?.classList.add("number");
  });
}

// The theme's labels that open a drawer answer to the keyboard, its landmarks have names and its
// headings a level, and a fold's name is what it says.
document.querySelector(".sidebar-drawer").ariaLabel = "The course";
document.querySelector(".toc-drawer").ariaLabel = "On this page";
for (const heading of document.querySelectorAll(".caption[role=heading]")) heading.ariaLevel = 2;
for (const label of document.querySelectorAll(".nav-overlay-icon, .toc-overlay-icon")) {
  label.tabIndex = 0;
  label.role = "button";
  label.ariaLabel = label.htmlFor === "__toc" ? "On this page" : "Menu";
  label.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    label.click();
  });
}
for (const fold of document.querySelectorAll("details.hide > summary")) fold.removeAttribute("aria-label");

// The search shows each page once, those first whose title has the words, with the heading and the sentence in
// which they stand.
if (typeof Search !== "undefined") {
  Documentation.TRANSLATIONS["Your search did not match any documents. Please make sure that all words are " +
    "spelled correctly and that you've selected enough categories."] = "No page has all of these words. Try fewer.";
  const perform = Search._performSearch;
  Search._performSearch = (query, ...more) => {    // the best comes last
    const seen = new Set(), words = (text) => text.toLowerCase().split(/[^\p{L}\p{N}]+/u);
    const named = ([, title, anchor]) => !anchor && words(query).every((each) => words(title).includes(each));
    return perform(query, ...more).sort((one, other) => named(one) - named(other))
      .reverse().filter(([page]) => !seen.has(page) && seen.add(page)).reverse();
  };
  Search.makeSearchSummary = (html, terms, anchor) => {
    const page = new DOMParser().parseFromString(html, "text/html"), stemmer = new Stemmer();
    const lines = [...page.querySelectorAll(".highlight pre")].flatMap((each) => each.textContent.split("\n"));
    for (const each of page.querySelectorAll(".headerlink, script, style, pre, .cell, .bet")) each.remove();
    for (const each of page.querySelectorAll(".math")) each.textContent = "…";
    const place = anchor ? page.querySelector(anchor) : null;
    const term = place?.matches("dt") && place.nextElementSibling.querySelector("p");
    const found = (text) => {
      const words = splitQuery(text.toLowerCase()).map((each) => stemmer.stemWord(each));
      return [...terms].filter((each) => words.some((word) => word.includes(each))).length;
    };
    const named = found(page.querySelector("h1").textContent);
    let best = { value: 0, text: named ? "" : lines.find(found) ?? "In its results." };
    for (const block of (term ? [term] : (place || page).querySelectorAll("[role=main] :is(p, li, dd, tbody tr)"))) {
      if (!block.matches("tr") && (block.closest("tr") || block.querySelector("p, li"))) continue;
      const cells = block.matches("tr") ? [...block.cells].map((each) => each.textContent.trim()) : [block.textContent];
      const sentences = cells.join(" · ").replace(/\s+/g, " ").trim().split(/(?<=[.?!]) (?=\p{Lu}|\d)/u);
      sentences.forEach((each, n) => {
        const value = term ? 1 : found(each) - each.includes("…") / 2;
        if (value <= best.value) return;
        const section = block.closest("section")?.querySelector("h2, h3");
        const heading = term ? place : section?.parentElement === block.closest("section") && !place && section;
        best = { value, heading: heading?.textContent?.trim(), text: sentences.slice(n).join(" ") };
      });
    }
    const summary = document.createElement("p");
    summary.className = "context";
    summary.append(best.text);
    if (best.heading) summary.prepend(Object.assign(document.createElement("strong"), { textContent: best.heading }), " · ");
    return summary;
  };
}
