"use strict";
// The search: a combobox over all functions, and the answer below it.
(() => {
  const { text, functions, others, file, line, count, units, eachUnit } = kmend;
  const kinds = ["inlined into", "constprop clone", "isra clone", "its part", "recursive copy", "clone called by", "fact used in", "the same code as"];
  const ways = ["holds a copy", "constprop clone", "isra clone", "its part", "recursive copy", "calls a clone", "uses a fact", "the same code"];
  const same = 7; // an alias, at the begin of a tree
  const lower = text.names.map((n) => n.toLowerCase());
  const lowerFiles = text.files.map((n) => n.toLowerCase());
  const box = document.getElementById("search");
  const list = document.getElementById("found");
  const said = document.getElementById("said");
  const answer = document.getElementById("answer");
  document.getElementById("explore").hidden = false;
  const shown = 50;
  let options = [], active = -1;

  const make = (tag, content, attributes) => {
    const e = document.createElement(tag);
    for (const c of [].concat(content ?? [])) e.append(c);
    for (const [k, v] of Object.entries(attributes ?? {})) e.setAttribute(k, v);
    return e;
  };
  const many = (n, noun) => n.toLocaleString("en") + " " + noun + (n === 1 ? "" : "s");
  const place = (f) => text.files[file[f]] + (line[f] ? ":" + line[f] : "");
  const spec = (f) => place(f) + ":" + text.names[f];

  // find is the functions in whose name or file every word is. Names that are,
  // begin with or have the first word come in that order.
  const find = (query) => {
    const words = query.toLowerCase().split(/[\s:]+/).filter((w) => w);
    if (!words.length) return [];
    const ranked = [[], [], [], []];
    for (let f = 0; f < functions; f++) {
      const name = lower[f], path = lowerFiles[file[f]];
      if (!words.every((w) => name.includes(w) || path.includes(w) || String(line[f]) === w)) continue;
      const w = words[words.length - 1];
      ranked[name === w ? 0 : name.startsWith(w) ? 1 : name.includes(w) ? 2 : 3].push(f);
    }
    for (const r of ranked) r.sort((a, b) => text.names[a].length - text.names[b].length || count[b] - count[a] || a - b);
    return ranked.flat();
  };

  const choose = (i) => {
    if (active >= 0) options[active].setAttribute("aria-selected", "false");
    active = i;
    if (i < 0) {
      box.removeAttribute("aria-activedescendant");
      return;
    }
    options[i].setAttribute("aria-selected", "true");
    options[i].scrollIntoView({ block: "nearest" });
    box.setAttribute("aria-activedescendant", options[i].id);
  };
  const close = () => {
    list.hidden = true;
    box.setAttribute("aria-expanded", "false");
    choose(-1);
  };
  const type = () => {
    const found = find(box.value);
    choose(-1);
    options = found.slice(0, shown).map((f, i) => {
      const o = make("li", [make("code", text.names[f]), make("span", place(f) + ", " + many(count[f], "symbol"))], { role: "option", id: "option-" + i, "aria-selected": "false" });
      o.addEventListener("click", () => go(f));
      return o;
    });
    list.replaceChildren(...options);
    list.hidden = !options.length;
    box.setAttribute("aria-expanded", String(options.length > 0));
    said.textContent = !box.value.trim() ? "" : many(found.length, "function") + " found" + (found.length > shown ? ", the first " + shown + " are listed" : "") + ".";
    return found;
  };
  const go = (f) => {
    close();
    location.hash = "function=" + encodeURIComponent(spec(f));
  };
  box.addEventListener("input", type);
  box.addEventListener("keydown", (event) => {
    const n = options.length;
    if (event.key === "Escape") close();
    else if (event.key === "Enter") {
      const found = find(box.value);
      const f = active >= 0 ? found[active] : found[0];
      if (f !== undefined) go(f);
    } else if (n && !list.hidden && event.key === "ArrowDown") choose((active + 1) % n);
    else if (n && !list.hidden && event.key === "ArrowUp") choose(active <= 0 ? n - 1 : active - 1);
    else return;
    event.preventDefault();
  });

  // tree joins the closures of all units: a branch is one chain of functions.
  const tree = (f) => {
    const root = { fn: f, kind: -1, own: true, units: new Set(), syms: [], next: new Map() };
    const child = (parent, fn, kind, own) => {
      const key = fn * 16 + kind;
      let node = parent.next.get(key);
      if (!node) parent.next.set(key, (node = { fn, kind, own, units: new Set(), syms: [], next: new Map() }));
      node.own = node.own && own;
      return node;
    };
    const info = { root, units: 0, stale: [], rows: [] };
    eachUnit(f, (unit, number, c) => {
      info.units++;
      if (unit.stale) info.stale.push(text.units[number] + ": " + text.stale[unit.stale]);
      const nodes = [];
      c.steps.forEach((step, i) => {
        const fn = unit.fn[step.node];
        const node = step.via >= 0 ? child(nodes[step.via], fn, step.kind, step.own) : fn === f ? root : child(root, fn, same, true);
        node.units.add(number);
        nodes[i] = node;
      });
      for (const y of c.syms) {
        const row = { name: text.names[unit.fn[unit.node[y.sym]]], unit: number, object: unit.object, bits: unit.bits[y.sym], size: unit.size[y.sym], own: c.steps[y.at].own, kind: nodes[y.at].kind };
        nodes[y.at].syms.push(row);
        info.rows.push(row);
      }
    });
    return info;
  };
  const trouble = (row) => (row.bits & 8 ? "the linked object does not have it" : row.bits & 2 ? "freed after the start" : row.bits & 1 ? "" : "no fentry: cannot be replaced itself");

  // Long lists begin with a part and a button.
  const partly = (items, first, render, parent) => {
    for (const item of items.slice(0, first)) parent.append(render(item));
    if (items.length <= first) return;
    const rest = make("button", "Show " + many(items.length - first, "more entr").replace(/entrs?$/, items.length - first === 1 ? "entry" : "entries"), { type: "button" });
    const holder = make(parent.tagName === "UL" ? "li" : "tr", parent.tagName === "UL" ? rest : make("td", rest, { colspan: "5" }));
    rest.addEventListener("click", () => {
      holder.remove();
      const added = items.slice(first, first + 5000).map(render);
      parent.append(...added);
      added[0].setAttribute("tabindex", "-1");
      added[0].focus();
    });
    parent.append(holder);
  };

  const sizeOf = (node) => (node.size ??= [...node.next.values()].reduce((n, x) => n + 1 + sizeOf(x), 0));

  // describe is one function of the tree: how it got there, and what it means.
  // Where it is in the same unit as the one above it, that is not said again.
  const describe = (node, above) => {
    const parts = [];
    if (node.kind >= 0) parts.push(make("span", kinds[node.kind] + " ", { class: "soft" }));
    parts.push(make("code", make("b", text.names[node.fn])), " ");
    const replaced = node.syms.filter((y) => !y.own).length;
    const several = node.units.size > 1 ? many(replaced, "symbol") + " to be replaced" : "to be replaced";
    const what = node.own && node.syms.length ? "holds the body itself" : replaced ? several : "no code of its own";
    const one = node.units.size === 1 ? text.units[[...node.units][0]] : many(node.units.size, "unit");
    const where = above?.units.size === 1 ? "" : " in " + one;
    const why = [...new Set(node.syms.map(trouble))].filter((t) => t).join("; ");
    parts.push(make("small", "– " + what + where + (why ? " (" + why + ")" : "")));
    return parts;
  };

  // branch is a function with those that depend on it. Large branches open when
  // they are asked for, and one that has no other beside it is open.
  const branch = (node, depth, above) => {
    if (!node.next.size) return make("li", describe(node, above));
    const ul = make("ul");
    const alone = node.next.size === 1 ? 0 : 1;
    const fill = () => {
      const children = [...node.next.values()].sort((a, b) => b.units.size - a.units.size || a.kind - b.kind || a.fn - b.fn);
      partly(children, 20, (c) => branch(c, depth + alone, node), ul);
    };
    if (depth < 1 || sizeOf(node) <= 8) {
      fill();
      return make("li", [...describe(node, above), ul]);
    }
    const details = make("details", [make("summary", [...describe(node, above), make("small", " … " + sizeOf(node).toLocaleString("en") + " more")]), ul]);
    details.addEventListener("toggle", () => { if (!ul.hasChildNodes()) fill(); });
    return make("li", details);
  };

  const symbolRow = (row) => make("tr", [
    make("th", make("code", row.name), { scope: "row" }), make("td", text.objects[row.object] || "object not known"), make("td", make("code", text.units[row.unit])),
    make("td", ways[row.kind] ?? ""), make("td", trouble(row) || "yes", { "data-h": "can be replaced:" }),
  ]);

  const show = (f) => {
    const info = tree(f);
    const rows = info.rows.filter((r) => !r.own);
    rows.sort((a, b) => a.object - b.object || a.unit - b.unit || (a.name < b.name ? -1 : 1));
    const title = make("h3", make("code", text.names[f]), { tabindex: "-1" });
    const parts = [title, make("p", [place(f), ": known to " + many(info.units, "unit") + "; ", make("strong", many(rows.length, "symbol")), " would have to be replaced along with it."])];
    const own = info.rows.filter((r) => r.own);
    parts.push(make("p", own.length ? "It has code of its own: " + [...new Set(own.map((r) => r.name))].join(", ") + "." : "It has no code of its own."));
    if (others.length) {
      const said = others.map((o, i) => text.others[i] + ": " + (o[f] < 0 ? "no such function, or several" : many(o[f], "symbol")));
      parts.push(make("p", "In the other builds: " + said.join("; ") + ".", { class: "others" }));
    }
    if (info.stale.length) parts.push(make("p", "This cannot be relied on: " + info.stale.slice(0, 5).join("; ") + (info.stale.length > 5 ? "; and " + (info.stale.length - 5) + " more units" : "") + ".", { class: "note" }));
    const top = make("ul", branch(info.root, 0), { class: "tree" });
    parts.push(make("h4", "Who depends on it, and how"), make("div", top, { class: "box", role: "group", "aria-label": "Tree of dependents", tabindex: "0" }));
    if (rows.length) {
      const body = make("tbody");
      partly(rows, 60, symbolRow, body);
      const head = make("thead", make("tr", ["symbol", "object", "unit", "how", "can be replaced"].map((h) => make("th", h, { scope: "col" }))));
      parts.push(make("h4", "What would have to be replaced"), make("div", make("table", [make("caption", many(rows.length, "symbol")), head, body], { class: "cards" }), { class: "box", role: "group", "aria-label": "Symbols", tabindex: "0" }));
    }
    parts.push(make("p", ["With positions and pictures: ", make("code", "kmend impact --index FILE " + spec(f))]));
    answer.replaceChildren(...parts);
    return title;
  };

  const fromHash = (focus) => {
    const m = /^#function=(.*)$/.exec(location.hash);
    if (!m) return;
    let wanted = m[1];
    try { wanted = decodeURIComponent(wanted); } catch { /* as it stands */ }
    const name = wanted.slice(wanted.lastIndexOf(":") + 1);
    for (let f = 0; f < functions; f++) {
      if (text.names[f] === name && spec(f) === wanted) {
        box.value = text.names[f];
        said.textContent = "";
        const title = show(f);
        if (focus) title.focus();
        return;
      }
    }
    answer.replaceChildren(make("p", "No function of this build is " + wanted + ".", { class: "note" }));
  };
  window.addEventListener("hashchange", () => fromHash(true));
  fromHash(false);
})();
