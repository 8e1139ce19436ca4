"use strict";
// The graph of a build, read from the page, and the questions asked of it.
// kmend.closure does what (*index.Query).closure does.
const kmend = (() => {
  const text = JSON.parse(document.getElementById("graph-text").textContent);
  const chars = atob(document.getElementById("graph-numbers").textContent);
  const bytes = new Uint8Array(chars.length);
  for (let i = 0; i < chars.length; i++) bytes[i] = chars.charCodeAt(i);
  let at = 0;
  const u = () => {
    let n = 0;
    for (let scale = 1; ; scale *= 128) {
      const b = bytes[at++];
      if (!(b >= 128)) return n + b * scale; // also at the end of the data
      n += (b - 128) * scale;
    }
  };
  const sign = (z) => (z % 2 ? -(z + 1) / 2 : z / 2);
  const s = () => sign(u());

  if (u() !== 2) throw new Error("the data of this page is of another version");
  const functions = u(), others = text.others.map(() => new Int32Array(functions)); // -1: that build does not have it
  if (u() !== others.length) throw new Error("the data of this page is damaged");
  const file = new Uint32Array(functions), line = new Uint32Array(functions), count = new Uint32Array(functions);
  for (let i = 0, last = 0; i < functions; i++) {
    last = file[i] = last + s();
    line[i] = u();
    count[i] = u();
    for (const o of others) o[i] = u() - 1;
  }
  const units = [];
  let fn = 0;
  for (let left = u(); left > 0; left--) {
    const unit = { object: u(), stale: u(), fn: null, sym: null, first: null, edges: [] };
    const nodes = u(), symbols = u();
    unit.fn = new Uint32Array(nodes);
    unit.sym = new Int32Array(nodes); // -1: none
    unit.first = new Uint32Array(nodes + 1);
    for (let n = 0, sym = 0; n < nodes; n++) {
      fn = unit.fn[n] = fn + s();
      sym += s();
      unit.sym[n] = sym - 1;
      for (let k = u(); k > 0; k--) {
        const e = u();
        unit.edges.push((n + sign(Math.floor(e / 8))) * 8 + (e % 8)); // target × 8 + kind
      }
      unit.first[n + 1] = unit.edges.length;
    }
    unit.node = new Uint32Array(symbols); // whose name a symbol has
    unit.twin = new Uint32Array(symbols);
    unit.bits = new Uint8Array(symbols);
    unit.size = new Float64Array(symbols);
    for (let i = 0, node = 0; i < symbols; i++) {
      node = unit.node[i] = node + s();
      unit.twin[i] = i + s();
      unit.bits[i] = u();
      unit.size[i] = u();
    }
    units.push(unit);
  }
  // Where each function is: unit, node, unit, node and so on, by unit.
  const where = Array.from({ length: functions }, () => []);
  units.forEach((unit, number) => unit.fn.forEach((f, n) => where[f].push(number, n)));

  const calls = 5, recursive = 4;
  const isClone = (kind) => kind >= 1 && kind <= recursive;
  const inDump = 4;

  // closure is all functions (steps) and symbols of a unit that depend on the
  // body of the functions it starts with. A step has its node, the step that led
  // there (-1: a start), how, and whether it holds the body itself.
  const closure = (unit, starts) => {
    const steps = [], syms = [], seen = new Set(), seenSyms = new Set();
    const reach = (node, via, kind, own) => {
      if (seen.has(node)) return;
      seen.add(node);
      steps.push({ node, via, kind, own });
      const sym = unit.sym[node];
      if (sym >= 0 && !seenSyms.has(sym)) {
        seenSyms.add(sym);
        syms.push({ sym, at: steps.length - 1 });
      }
    };
    for (const n of starts) reach(n, -1, 0, true);
    // An alias that the account does not name stands for what it is an alias of.
    if (starts.length === 1 && syms.length === 1 && !(unit.bits[syms[0].sym] & inDump)) {
      const first = syms[0].sym;
      for (let t = unit.twin[first], n = 0; t !== first && n < unit.twin.length; t = unit.twin[t], n++) {
        if (unit.bits[t] & inDump) reach(unit.node[t], -1, 0, true);
      }
    }
    // Clones first, then whatever else holds the body, then who calls a clone.
    const follow = (clones) => {
      for (let i = 0; i < steps.length; i++) {
        const step = steps[i];
        if (clones && !step.own) continue;
        for (let e = unit.first[step.node]; e < unit.first[step.node + 1]; e++) {
          const to = Math.floor(unit.edges[e] / 8), kind = unit.edges[e] % 8;
          if (kind !== calls && (isClone(kind) || !clones)) reach(to, i, kind, step.own && isClone(kind));
        }
      }
    };
    follow(true);
    follow(false);
    for (let i = 0; i < steps.length; i++) {
      for (let e = unit.first[steps[i].node]; e < unit.first[steps[i].node + 1]; e++) {
        if (unit.edges[e] % 8 === calls) reach(Math.floor(unit.edges[e] / 8), i, calls, false);
      }
    }
    return { steps, syms };
  };

  // eachUnit calls back with the closure of a function in each of its units.
  const eachUnit = (f, call) => {
    const places = where[f];
    for (let i = 0, j; i < places.length; i = j) {
      const starts = [];
      for (j = i; j < places.length && places[j] === places[i]; j += 2) starts.push(places[j + 1]);
      const unit = units[places[i]];
      call(unit, places[i], closure(unit, starts));
    }
  };

  // counted is the number of symbols that depend on a function, as count has it.
  const counted = (f) => {
    let n = 0;
    eachUnit(f, (unit, number, c) => { for (const y of c.syms) if (!c.steps[y.at].own) n++; });
    return n;
  };

  return { text, functions, others, file, line, count, units, eachUnit, counted };
})();
