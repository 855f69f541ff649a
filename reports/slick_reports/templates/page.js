"use strict";
// The page is whole without this script. It adds a theme switch, and tables of facts that sort, search and filter.
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  const make = (tag, attributes = {}, ...children) => {
    const found = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
    // Text nodes only: nothing of the data is ever parsed as HTML.
    found.append(...children);
    return found;
  };

  const themes = ["auto", "light", "dark"];
  const button = make("button", { type: "button", class: "theme", "aria-live": "polite" }, "Theme: auto");
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "auto") + 1) % themes.length];
    if (next === "auto") delete root.dataset.theme; else root.dataset.theme = next;
    button.textContent = `Theme: ${next}`;
  });
  document.querySelector("main").prepend(button);

  const PAGE = 50;
  const columnsOf = {
    // What a narrow screen shows without scrolling comes first.
    flips: (data) => [
      { name: "what", of: (r) => r.state, text: (r) => data.states[r.state] },
      { name: "question", of: (r) => r.question, as: "asked" },
      { name: "accepted", of: (r) => r.accepted, as: "" },
      { name: "before", of: (r) => r.before, as: "" },
      { name: "after", of: (r) => r.after, as: "answers" },
      ...(data.arms.length > 1 ? [{ name: "arm", of: (r) => r.arm, text: (r) => data.arms[r.arm].label, as: "plain" }] : []),
      ...(data.arms.some((a) => a.seeds > 1)
        ? [{ name: "seeds", of: (r) => r.seeds, text: (r) => `${r.seeds} of ${data.arms[r.arm].seeds}` }] : []),
      { name: "category", of: (r) => (r.category < 0 ? 9 : r.category), text: (r) => data.categories[r.category] || "–" },
      ...(data.migrated ? [{ name: "category now", of: (r) => (r.now < 0 ? 9 : r.now), text: (r) => data.categories[r.now] || "–" }] : []),
      { name: "relation", of: (r) => data.relations[r.relation], as: "plain" },
      { name: "wrong answer", of: (r) => (r.kind < 0 ? 9 : r.kind), text: (r) => data.kinds[r.kind] || "–", as: "kind" },
    ],
    history: (data) => [
      { name: "question", of: (r) => r.question, as: "asked" },
      { name: "accepted", of: (r) => r.accepted, as: "" },
      { name: `versions: ${data.versions.join(", ")}`, short: "versions", of: (r) => r.path, text: (r) => r.shown, as: "path" },
      { name: "state", of: (r) => r.state, text: (r) => data.states[r.state] },
      { name: "first bad", of: (r) => (r.bad < 0 ? 1e9 : r.bad), text: (r) => data.versions[r.bad] || "–", as: "plain" },
      { name: "changes", of: (r) => r.flips },
      { name: "relation", of: (r) => data.relations[r.relation], as: "plain" },
    ],
  };
  const rowsOf = {
    flips: (data) => data.rows.map(([fact, arm, state, after, kind, seeds, now]) => {
      const [relation, category, question, accepted, before] = data.facts[fact];
      return { relation, category, question, accepted, before, arm, state, after, kind, seeds, now };
    }),
    history: (data) => data.rows.map(([relation, question, accepted, path, flips, state, bad]) =>
      ({ relation, question, accepted, path, flips, state, bad, shown: path.replace(/1/g, "●").replace(/0/g, "○").replace(/-/g, "·") })),
  };
  const filtersOf = {
    flips: (data) => [["what", "state", data.states], ["arm", "arm", data.arms.map((a) => a.label)], ["category", "category", data.categories],
      ["relation", "relation", data.relations], ["wrong answer", "kind", data.kinds]],
    history: (data) => [["state", "state", data.states], ["relation", "relation", data.relations], ["first bad", "bad", data.versions]],
  };

  const collator = new Intl.Collator(undefined, { numeric: true });
  const build = (holder) => {
    const data = JSON.parse(holder.textContent);
    const kind = holder.dataset.table;
    const columns = columnsOf[kind](data), rows = rowsOf[kind](data);
    for (const row of rows) row.text = `${row.question}\n${row.accepted}\n${row.before ?? ""}\n${row.after ?? ""}`.toLowerCase();
    const state = { sort: -1, down: false, page: 0, found: rows };

    const search = make("input", { type: "search", id: `${holder.id}-search` });
    const bar = make("div", { class: "tools" }, make("label", { for: search.id }, "Search ", search));
    const chosen = [];
    for (const [name, field, options] of filtersOf[kind](data)) {
      if (options.length < 2) continue;
      const select = make("select", { id: `${holder.id}-${field}` }, make("option", { value: "" }, "all"));
      options.forEach((option, place) => select.append(make("option", { value: place }, option || "(none)")));
      select.addEventListener("change", () => refresh());
      chosen.push([select, field]);
      bar.append(make("label", { for: select.id }, `${name} `, select));
    }
    const count = make("p", { class: "note", role: "status" });
    // Roles of their own, since a narrow screen shows the rows as cards and a browser then forgets that they are a table.
    const head = make("tr", { role: "row" });
    columns.forEach((column, place) => {
      const sort = make("button", { type: "button" }, column.short || column.name);
      if (column.short) sort.title = column.name;
      sort.addEventListener("click", () => {
        state.down = state.sort === place && !state.down;
        state.sort = place;
        refresh();
      });
      head.append(make("th", { scope: "col", role: "columnheader", "aria-sort": "none" }, sort));
    });
    const body = make("tbody", { role: "rowgroup" });
    const table = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of facts" },
      make("table", { class: "text wide app cards", role: "table" }, make("thead", { role: "rowgroup" }, head), body));
    const back = make("button", { type: "button" }, "Previous"), on = make("button", { type: "button" }, "Next");
    const where = make("span", { class: "soft" });
    const pages = make("div", { class: "tools" }, back, on, where);

    const refresh = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = chosen.filter(([select]) => select.value !== "").map(([select, field]) => [field, Number(select.value)]);
      state.found = rows.filter((row) => wanted.every(([field, value]) => row[field] === value) && words.every((word) => row.text.includes(word)));
      if (state.sort >= 0) {
        const { of } = columns[state.sort], sign = state.down ? -1 : 1;
        state.found.sort((a, b) => { const x = of(a), y = of(b); return sign * (typeof x === "number" ? x - y : collator.compare(x, y)); });
      }
      head.querySelectorAll("th").forEach((cell, place) =>
        cell.setAttribute("aria-sort", place !== state.sort ? "none" : state.down ? "descending" : "ascending"));
      state.page = 0;
      show();
    };
    const show = () => {
      const first = state.page * PAGE, last = Math.min(first + PAGE, state.found.length);
      body.replaceChildren(...state.found.slice(first, last).map((row) => make("tr", { role: "row" }, ...columns.map((column) =>
        make("td", { role: "cell", class: column.as ?? "tight", "data-name": column.short || column.name }, make("bdi", {}, String((column.text || column.of)(row))))))));
      count.textContent = `${state.found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
      where.textContent = state.found.length ? `${(first + 1).toLocaleString("en")}–${last.toLocaleString("en")}` : "none";
      back.disabled = first === 0;
      on.disabled = last === state.found.length;
    };
    search.addEventListener("input", refresh);
    back.addEventListener("click", () => { state.page -= 1; show(); });
    on.addEventListener("click", () => { state.page += 1; show(); });
    holder.after(bar, count, table, pages);
    refresh();
  };
  document.querySelectorAll("script[data-table]").forEach(build);
})();
