"use strict";
// Sorting, filtering and details of trials and claims; all that the page says is there without it.
(() => {
  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "onclick") made.addEventListener("click", value);
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  };
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // What a page that loads itself again remembers.
  const memory = {
    read() {
      try { return JSON.parse(sessionStorage.getItem(location.pathname)) || {}; } catch { return {}; }
    },
    keep(change) {
      try {
        sessionStorage.setItem(location.pathname, JSON.stringify({ ...memory.read(), ...change }));
      } catch { /* a browser that keeps nothing */ }
    },
  };

  // Sorting: what has no value comes last, whichever way.
  const sorter = (table) => {
    const heads = all("thead th:not(.files)", table);
    const body = table.tBodies[0];
    const value = (row, column, numeric) => {
      const cell = row.cells[column];
      const text = cell.dataset.order ?? cell.textContent.trim();
      if (text === "") return null;
      return numeric ? Number(text.replaceAll(",", "")) : text;
    };
    const sort = (column, direction) => {
      const numeric = heads[column].classList.contains("number");
      const sign = direction === "descending" ? -1 : 1;
      const keyed = [...body.rows].map((row) => [value(row, column, numeric), row]);
      keyed.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
      });
      body.append(...keyed.map(([, row]) => row));
      heads.forEach((head, i) => {
        if (i === column) head.setAttribute("aria-sort", direction);
        else head.removeAttribute("aria-sort");
        const arrow = direction === "ascending" ? "\u00a0▲" : "\u00a0▼";
        one(".arrow", head).textContent = i === column ? arrow : "";
      });
      memory.keep({ [`sort ${table.id}`]: [column, direction] });
    };
    heads.forEach((head, column) => {
      const button = element("button", {
        type: "button",
        onclick: () => {
          const first = head.classList.contains("number") && column > 0 ? "descending" : "ascending";
          const other = { ascending: "descending", descending: "ascending" };
          sort(column, other[head.getAttribute("aria-sort")] || first);
        },
      }, ...head.childNodes, element("span", { class: "arrow", "aria-hidden": "true" }));
      head.replaceChildren(button);
    });
    const kept = memory.read()[`sort ${table.id}`];
    if (kept && heads[kept[0]]) sort(...kept);
  };

  // Filtering: by text, and by what a column's cell is.
  const filter = (form) => {
    const table = document.getElementById(form.dataset.table);
    const rows = [...table.tBodies[0].rows];
    const text = one("input", form), selects = all("select", form), key = `filter ${table.id}`;
    const headings = all("thead th", table).map((th) => th.textContent.trim());
    const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const choices = selects.map((select) => [select, headings.indexOf(select.dataset.column)]);
    for (const [select, column] of choices) {
      const values = new Set(rows.map((row) => value(row, column)));
      select.append(...[...values].map((found) => element("option", {}, found)));
    }
    const apply = () => {
      const wanted = text.value.trim().toLowerCase().replaceAll(" ", "");
      let shown = 0;
      for (const row of rows) {
        const fits = row.textContent.toLowerCase().replaceAll(" ", "").includes(wanted)
          && choices.every(([select, i]) => !select.value || value(row, i) === select.value);
        row.hidden = !fits;
        shown += fits;
      }
      const count = (number) => number.toLocaleString("en");
      one(".count", form).textContent = `${count(shown)} of ${count(rows.length)} ${form.dataset.what} shown`;
      memory.keep({ [key]: [text, ...selects].map((input) => input.value) });
    };
    form.hidden = false;
    (memory.read()[key] || []).forEach((kept, i) => { [text, ...selects][i].value = kept; });
    form.addEventListener("input", apply);
    form.addEventListener("reset", () => setTimeout(apply));
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  };

  // Details: unpacked when they are asked for.
  const chunks = new Map();
  for (const script of all("script.packed")) {
    for (const key of script.dataset.keys.split(" ")) chunks.set(key, script);
  }
  const unpack = async (key) => {
    const script = chunks.get(key);
    if (typeof script.content === "undefined") {
      const bytes = Uint8Array.from(atob(script.textContent), (c) => c.charCodeAt(0));
      const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      script.content = JSON.parse(await new Response(plain).text());
    }
    return script.content[key];
  };
  const copier = (text, what) => {
    const button = element("button", { type: "button", "aria-label": `Copy ${what}` }, "Copy");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text());
        button.textContent = "Copied";
      } catch {
        button.textContent = "Press Ctrl-C";
        const pre = one("pre", button.parentElement);
        if (pre) getSelection().selectAllChildren(pre);
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    return button;
  };
  const file = (found) => element("details",
    found.name === "net.prototxt" || !found.href ? { open: "" } : {},
    element("summary", {}, found.name + (found.whole ? "" : ", in part")),
    ...(found.href ? [element("p", {}, element("a", { href: found.href }, `${found.name}, the file`), " ",
      copier(() => found.text, found.name))] : []),
    element("pre", { tabindex: "0", "aria-label": found.name }, element("code", {}, found.text)));

  const dialog = one("#details");
  let shown = null;
  const show = async (row) => {
    const key = row.dataset.key;
    const about = await unpack(key).catch(() => ({
      title: key, facts: [["details", "this browser cannot unpack them; the table links to the files"]],
      files: [],
    }));
    const next = (step) => {
      const rows = all("tr[data-key]", row.parentElement).filter((other) => !other.hidden);
      return rows[rows.indexOf(row) + step];
    };
    const go = (label, step) => {
      const to = next(step);
      const button = element("button", { type: "button", onclick: () => show(to) }, label);
      button.disabled = !to;
      return button;
    };
    const drawing = element("div");
    drawing.innerHTML = about.drawing || ""; // made with the page, of numbers alone
    const link = ([title, href]) => {
      const made = element("a", { href }, title);
      made.addEventListener("click", (event) => {
        event.preventDefault();
        dialog.addEventListener("close", () => { location.hash = href; }, { once: true });
        dialog.close();
      });
      return element("p", {}, made);
    };
    const facts = about.facts.flatMap(([label, value]) => [element("dt", {}, label), element("dd", {}, value)]);
    dialog.replaceChildren(
      element("header", {}, element("h2", { id: "details-title", tabindex: "-1" }, about.title),
        go("Previous", -1), go("Next", 1),
        element("button", { type: "button", onclick: () => dialog.close() }, "Close")),
      about.says ? element("p", {}, about.says) : element("p", { class: "notation" }, about.architecture || ""),
      element("div", { class: about.drawing ? "body" : "" }, drawing,
        element("div", {}, element("dl", {}, ...facts), ...(about.links || []).map(link), ...about.files.map(file))));
    shown = row;
    history.replaceState(null, "", `#${row.id}`);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    one("h2", dialog).focus();
  };
  dialog.addEventListener("close", () => {
    history.replaceState(null, "", location.pathname + location.search);
    const button = shown && one("button", shown);
    if (button) button.focus();
    shown = null;
  });
  for (const row of all("tr[data-key]")) {
    if (!chunks.has(row.dataset.key)) continue;
    const head = row.cells[0];
    const label = `Details of ${row.id.startsWith("trial-") ? "trial " : ""}${row.dataset.key}`;
    head.replaceChildren(element("button", {
      type: "button", "aria-label": label, "aria-haspopup": "dialog", onclick: () => show(row),
    }, ...head.childNodes));
  }
  const fromAddress = () => {
    const row = location.hash && document.getElementById(location.hash.slice(1));
    if (row && row.dataset && row.dataset.key) show(row);
  };
  addEventListener("hashchange", fromAddress);

  for (const pre of all(".commands pre")) pre.after(copier(() => pre.textContent, "the command"));
  for (const form of all("form.filter")) filter(form); // before headings have arrows
  for (const table of all("table.sortable")) sorter(table);
  fromAddress();

  // A page that is being watched.
  const every = Number(document.body.dataset.refresh);
  if (every) {
    const bar = one("#refresh");
    const paused = () => memory.read().paused === true;
    const button = element("button", { type: "button" });
    const say = () => {
      button.textContent = paused() ? "Go on refreshing" : "Pause";
      said.textContent = paused() ? "This page no longer loads itself again." : `This page loads itself again every ${every} s.`;
    };
    const said = element("span", {});
    button.addEventListener("click", () => { memory.keep({ paused: !paused() }); say(); });
    bar.append(said, button);
    bar.hidden = false;
    say();
    const quiet = () => paused() || dialog.open || document.activeElement?.matches("input, select");
    setInterval(() => { if (!quiet()) location.reload(); }, 1000 * every);
  }
})();
