(() => {
  const found = [];
  const say = (what, e) => found.length < 20 && found.push(what + ": " + e.outerHTML.slice(0, 160));
  const all = (selector) => [...document.querySelectorAll(selector)];
  const seen = (e) => e.checkVisibility() && !e.closest(".unseen, .skip");

  if (document.documentElement.scrollWidth > innerWidth) found.push("the page is " + document.documentElement.scrollWidth + " wide, the window " + innerWidth);
  if (!document.documentElement.lang || !document.title) found.push("no language or no title");
  if (all("main").length !== 1 || all("h1").length !== 1) found.push("not one main and one h1");

  let level = 0;
  for (const h of all("h1, h2, h3, h4, h5, h6")) {
    if (!h.checkVisibility()) continue;
    const n = Number(h.tagName[1]);
    if (n > level + 1) say("a heading skips a level", h);
    level = n;
  }
  const ids = new Set();
  for (const e of all("[id]")) {
    if (ids.has(e.id)) say("the id is there twice", e);
    ids.add(e.id);
  }
  for (const a of all("a[href^='#']")) {
    const target = a.getAttribute("href").slice(1);
    if (!target.includes("=") && !ids.has(target)) say("the link leads nowhere", a);
  }
  for (const s of all("svg")) if (s.getAttribute("aria-hidden") !== "true" && !(s.getAttribute("role") === "img" && s.querySelector(":scope > title"))) say("a picture without a name", s);
  for (const i of all("input, select")) if (!i.labels?.length && !i.getAttribute("aria-label")) say("a field without a label", i);
  for (const t of all("table")) {
    if (!t.querySelector("th[scope]")) say("a table without headers", t);
    for (const th of t.querySelectorAll("th:not([scope])")) say("a header without a scope", th);
  }
  for (const e of all(".box, pre")) if (e.scrollWidth > e.clientWidth + 1 && e.tabIndex < 0) say("what scrolls cannot be reached by the keyboard", e);

  // Contrast as WCAG 2 defines it, of text with a plain background.
  const channel = (c) => ((c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const rgb = (s) => s.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const back = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const done = new Set();
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || done.has(e) || !seen(e) || e.closest("script, style, noscript")) continue;
    done.add(e);
    const style = getComputedStyle(e);
    const a = light(rgb(e.closest("svg") ? style.fill : style.color)), b = light(back(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) say("contrast of " + ratio.toFixed(2), e);
  }
  return found;
})();
