// The page works without this file; with it, it is live, follows the keyboard, and loads long things when they are asked for.
// No text ever becomes markup here: fragments are parsed by the browser as documents of their own, in which no script runs.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const say = (text) => { $("#said").textContent = text; };

  // ---- theme: the system's, unless the reader chose; set before the first paint

  const THEMES = ["system", "light", "dark"];
  const remembered = () => { try { return localStorage.getItem("durably-theme"); } catch { return null; } };
  function setTheme(name) {
    const theme = THEMES.includes(name) ? name : "system";
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    try { localStorage.setItem("durably-theme", theme); } catch { /* it holds for this page then */ }
    const shown = $("[data-theme-name]");
    if (shown) shown.textContent = { system: "System theme", light: "Light theme", dark: "Dark theme" }[theme];
  }
  let theme = remembered() || "system";
  setTheme(theme);
  function nextTheme() {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    setTheme(theme);
    say(`${theme} theme`);
  }

  // ---- times, in the reader's own zone

  const pad = (number) => String(number).padStart(2, "0");
  function ago(seconds) {
    if (seconds < 1) return "now";
    const [unit, size] = [["s", 1], ["min", 60], ["h", 3600], ["d", 86400]].findLast(([, size]) => seconds >= size);
    return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  function localTimes(root = document) {
    for (const time of all("time[data-when]", root)) {
      const at = new Date(time.dateTime);
      const day = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
      time.textContent = `${day} ${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
      time.title = time.dateTime;
    }
    for (const time of all("time[data-ago]", root)) {
      time.textContent = ago(Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000));
    }
  }

  // ---- fragments

  function fetchFragment(url, etag) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("GET", url);
      request.responseType = "document";
      request.timeout = 30000;
      request.setRequestHeader("X-Fragment", "1");
      if (etag) request.setRequestHeader("If-None-Match", etag);
      request.onload = () => {
        if (request.status === 304) resolve({ changed: false });
        else if (request.status === 200) resolve({ changed: true, body: request.response.body, etag: request.getResponseHeader("etag") });
        else reject(new Error(`${request.status}`));
      };
      request.onerror = request.ontimeout = () => reject(new Error("no answer"));
      request.send();
    });
  }

  // Make `old` what `fresh` is, and touch nothing that is the same: focus, selection and scroll stay where they are.
  function morph(old, fresh) {
    if (old.hasAttribute("data-kept") && old.hasAttribute("data-opened")) return;
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      const isOurs = ["open", "style", "data-loaded", "aria-current", "data-opened"].includes(name);
      if (!fresh.hasAttribute(name) && !(isOurs && !old.matches("nav a"))) old.removeAttribute(name);
    }
    if (old.matches("input, textarea, select")) return;
    if (old.dataset.src && (old.dataset.loaded !== undefined && fresh.dataset.loaded === undefined)) { stale(old); return; }
    morphChildren(old, fresh);
  }
  function morphChildren(old, fresh) {
    const keyed = new Map([...old.children].filter((node) => node.dataset.key).map((node) => [node.dataset.key, node]));
    let place = old.firstChild;
    for (const next of [...fresh.childNodes]) {
      const key = next.dataset?.key;
      let match = key ? keyed.get(key) : place;
      if (match && (match.nodeName !== next.nodeName || (!key && match.dataset?.key))) match = undefined;
      if (!match) {
        old.insertBefore(document.importNode(next, true), place);
        continue;
      }
      keyed.delete(key);
      while (place && place !== match && !(place.dataset?.key && keyed.has(place.dataset.key))) {
        const gone = place;
        place = place.nextSibling;
        gone.remove();
      }
      if (match === place) place = place.nextSibling;
      else old.insertBefore(match, place);
      if (match.nodeType === Node.ELEMENT_NODE) morph(match, next);
      else if (match.nodeValue !== next.nodeValue) match.nodeValue = next.nodeValue;
    }
    while (place) {
      const gone = place;
      place = place.nextSibling;
      gone.remove();
    }
  }

  // ---- live update

  let etag = null;
  let held = null;
  function isEngaged(list) {
    const rows = $("[data-rows]", list);
    return Boolean(rows) && (rows.contains(document.activeElement) || scrollY > 120);
  }
  const keysOf = (root) => new Set(all("[data-rows] > [data-key]", root).map((row) => row.dataset.key));

  // New rows wait until the reader asks for them; what is already in the list is brought up to date where it stands.
  function updateList(live, fresh) {
    const known = keysOf(live);
    const added = [...keysOf(fresh)].filter((key) => !known.has(key));
    if (!added.length || !isEngaged(live)) { showHeld(0); morph(live, fresh); return; }
    for (const row of all("[data-rows] > [data-key]", fresh)) {
      const old = $(`[data-rows] > [data-key="${CSS.escape(row.dataset.key)}"]`, live);
      if (old) morph(old, row);
    }
    morph($(".counts", live), $(".counts", fresh));
    held = fresh;
    showHeld(added.length);
  }
  function showHeld(count) {
    let button = $("button.held");
    if (!count) { held = null; button?.remove(); return; }
    if (!button) {
      button = document.createElement("button");
      button.type = "button";
      button.className = "held";
      button.dataset.does = "held";
      $("#live").before(button);
    }
    const text = `${count} new execution${count === 1 ? "" : "s"}`;
    if (button.textContent !== `${text} .`) {
      button.textContent = `${text} `;
      const key = document.createElement("kbd");
      key.textContent = ".";
      button.append(key);
      say(text);
    }
  }
  function releaseHeld() {
    if (!held) return;
    const fresh = held;
    showHeld(0);
    morph($("#live"), fresh);
    localTimes($("#live"));
    scrollTo({ top: 0 });
    $("[data-row]")?.focus({ preventScroll: true });
  }
  async function tick() {
    const live = $("#live");
    if (!live || document.hidden || live.hasAttribute("data-settled")) { showLive(live); return; }
    try {
      const answer = await fetchFragment(location.href.split("#")[0], etag);
      etag = answer.etag || etag;
      if (answer.changed) {
        const fresh = $("#live", answer.body);
        if (live.dataset.live === "list") updateList(live, fresh);
        else { morph(live, fresh); watchChunks(); refreshPanel(); markCurrent(); }
      }
      localTimes(live);
      showLive(live);
    } catch (error) {
      showLive(live, error.message);
    }
  }
  function showLive(live, trouble) {
    const sign = $("[data-live-sign]");
    if (!sign || !live) return;
    const is = trouble ? "lost" : live.hasAttribute("data-settled") ? "paused" : "live";
    sign.dataset.is = is;
    sign.textContent = { lost: "no answer", paused: "ended", live: "live" }[is];
  }
  function startLive() {
    const live = $("#live");
    if (!live) return;
    showLive(live);
    // A store that answers slowly, or a journal that takes long to read, is asked less often.
    const loop = async () => {
      const began = performance.now();
      await tick();
      setTimeout(loop, Math.max(Number($("#live")?.dataset.every) || 2000, 4 * (performance.now() - began)));
    };
    setTimeout(loop, Number(live.dataset.every));
    document.addEventListener("visibilitychange", () => { if (!document.hidden) tick(); });
  }

  // ---- pieces of a long waterfall, loaded when they come near

  const ROW_PX = 24;
  const near = new Set();
  const sight = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (isIntersecting) { near.add(target); load(target); } else near.delete(target);
    }
  }, { rootMargin: "1200px 0px" });
  function watchChunks() {
    for (const list of all("ol[data-src]")) {
      if (list.dataset.loaded === undefined) list.style.minBlockSize = `${Number(list.dataset.count) * ROW_PX}px`;
      list.style.containIntrinsicBlockSize = `auto ${Number(list.dataset.count) * ROW_PX}px`;
      sight.observe(list);
    }
  }
  function stale(list) {
    list.dataset.stale = "1";
    if (near.has(list)) load(list);
  }
  async function load(list) {
    const isStale = list.dataset.stale !== undefined;
    if ((list.dataset.loaded !== undefined && !isStale) || list.dataset.loading !== undefined) return;
    list.dataset.loading = "1";
    delete list.dataset.stale;
    try {
      const answer = await fetchFragment(list.dataset.src + (isStale ? "&fresh=1" : ""));
      morphChildren(list, answer.body);
      list.dataset.loaded = "";
      list.style.minBlockSize = "";
      markCurrent();
    } catch {
      list.dataset.stale = "1";
    } finally {
      delete list.dataset.loading;
    }
  }

  // ---- the step beside its execution

  let openedFrom = null;
  const panel = () => $("#panel");
  const shownStep = () => $("[data-panel-step]", panel() || document)?.dataset.panelStep;
  const stepUrl = (name) => {
    const here = new URL(location.href);
    const url = new URL("/execution/step", location.origin);
    url.searchParams.set("id", here.searchParams.get("id"));
    url.searchParams.set("name", name);
    return url.href;
  };
  async function openStep(name, from) {
    openedFrom = from || openedFrom;
    try {
      const answer = await fetchFragment(stepUrl(name));
      panel().replaceChildren(...[...answer.body.children].map((node) => document.importNode(node, true)));
    } catch {
      location.href = stepUrl(name);
      return;
    }
    panel().hidden = false;
    panel().scrollTop = 0;
    $(".sheet").classList.add("has-panel");
    remember(name);
    localTimes(panel());
    markCurrent();
    if (matchMedia("(max-width: 900px)").matches) panel().focus();
    say(`step ${name}`);
  }
  function closeStep() {
    if (!panel() || panel().hidden) return false;
    panel().hidden = true;
    panel().replaceChildren();
    $(".sheet").classList.remove("has-panel");
    remember(null);
    markCurrent();
    if (openedFrom?.isConnected) openedFrom.focus();
    return true;
  }
  function remember(name) {
    const url = new URL(location.href);
    if (name === null) url.searchParams.delete("step");
    else url.searchParams.set("step", name);
    if (url.href !== location.href) { history.replaceState(null, "", url); etag = null; }
  }
  async function refreshPanel() {
    const name = panel() && !panel().hidden && shownStep();
    if (!name || $("dialog[open]")) return;
    try {
      const answer = await fetchFragment(stepUrl(name));
      if (shownStep() === name) { morphChildren(panel(), answer.body); localTimes(panel()); }
    } catch { /* the next tick asks again */ }
  }
  function markCurrent() {
    const name = panel() && !panel().hidden ? shownStep() : undefined;
    for (const row of all("[data-row][aria-current]")) row.removeAttribute("aria-current");
    if (name !== undefined) {
      for (const row of all(`[data-row][data-step="${CSS.escape(name)}"]`)) row.setAttribute("aria-current", "true");
    }
  }

  // ---- long texts

  const PIECE = 32000;
  async function showWhole(link) {
    const section = link.closest(".payload");
    const box = $(".text", section);
    link.textContent = "Loading…";
    box.setAttribute("aria-busy", "true");
    const text = await (await fetch(link.href)).text().catch(() => null);
    box.removeAttribute("aria-busy");
    if (text === null) { link.textContent = "Show all (no answer; try again)"; return; }
    const pieces = document.createDocumentFragment();
    for (let at = 0; at < text.length;) {
      let end = Math.min(text.length, at + PIECE);
      const line = text.lastIndexOf("\n", end);
      if (end < text.length && line > at) end = line + 1;
      else if (end < text.length && /[\ud800-\udbff]/.test(text[end - 1])) end += 1;
      const piece = document.createElement("pre");
      piece.className = "piece";
      piece.dir = "auto";
      piece.textContent = text.slice(at, end).replace(/\n$/, "");
      pieces.append(piece);
      at = end;
    }
    box.replaceChildren(pieces);
    box.dataset.opened = "";
    link.closest(".more").dataset.opened = "";
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", "The whole text");
    box.focus({ preventScroll: true });
    link.remove();
  }

  // ---- keyboard and mouse

  const rowsInReach = () => all("[data-row]").filter((row) => row.checkVisibility({ contentVisibilityAuto: false }));
  function moveRow(by) {
    const rows = rowsInReach();
    if (!rows.length) return;
    let at = rows.indexOf(document.activeElement?.closest?.("[data-row]"));
    if (at < 0) at = rows.findIndex((row) => row.hasAttribute("aria-current"));
    const row = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
    row.focus();
    row.scrollIntoView?.({ block: "nearest" });
    if (row.dataset.step && panel() && !panel().hidden) followLater(row);
  }
  let following = 0;
  function followLater(row) {
    clearTimeout(following);
    following = setTimeout(() => { if (row.dataset.step !== shownStep()) openStep(row.dataset.step, row); }, 120);
  }
  const onRow = () => Boolean(document.activeElement?.closest?.("[data-row]"));
  const KEYS = {
    j: () => moveRow(1),
    k: () => moveRow(-1),
    "/": () => { const search = $("[data-search]"); search?.focus(); search?.select(); },
    "?": () => $("#keys").showModal(),
    ".": releaseHeld,
    t: nextTheme,
    u: () => { const up = $("[data-up]"); if (up) location.href = up.href; },
    g: () => { const view = $("[data-view]:not([aria-current])"); if (view) location.href = view.href; },
    s: () => { const stop = $("[data-stopped]"); if (stop) openStep(stop.dataset.step, stop); },
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return;
    if (event.target.matches("input, textarea, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === "Escape") { if (closeStep()) event.preventDefault(); return; }
    let does = KEYS[event.key];
    if (onRow()) {
      does = { ArrowDown: KEYS.j, ArrowUp: KEYS.k, Home: () => moveRow(-Infinity), End: () => moveRow(Infinity) }[event.key] || does;
    } else if (event.key === "ArrowDown" && document.activeElement === document.body && scrollY === 0) does = KEYS.j;
    if (does) { event.preventDefault(); does(); }
  });

  async function copy(button) {
    const was = button.textContent;
    try { await navigator.clipboard.writeText(button.dataset.copy); button.textContent = "copied"; } catch { button.textContent = "not allowed"; }
    say(button.textContent);
    setTimeout(() => { button.textContent = was; }, 1500);
  }
  const DOES = {
    theme: nextTheme,
    keys: () => $("#keys").showModal(),
    held: releaseHeld,
    close: closeStep,
    whole: showWhole,
    ask: (button) => document.getElementById(button.dataset.dialog).showModal(),
    fill: (button) => { button.closest("details").querySelector("textarea").value = button.dataset.text; },
    dismiss: (button) => button.closest("dialog").close(),
  };
  document.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    const target = event.target.closest("[data-does], [data-copy], [data-step]");
    if (!target) return;
    if (target.dataset.copy !== undefined) copy(target);
    else if (target.dataset.does) { event.preventDefault(); DOES[target.dataset.does]?.(target); }
    else if (panel() && target.dataset.step !== undefined) { event.preventDefault(); openStep(target.dataset.step, target); }
  });
  document.addEventListener("toggle", (event) => { if (event.target.matches?.("details.replayed")) watchChunks(); }, true);

  // The link that `durably web` prints has the token behind the #: it reaches no server's log and no other site.
  function signIn() {
    const form = $("[data-login]");
    if (!form || location.hash.length < 2) return;
    form.elements.token.value = decodeURIComponent(location.hash.slice(1));
    history.replaceState(null, "", location.pathname + location.search);
    form.submit();
  }

  document.addEventListener("DOMContentLoaded", () => {
    setTheme(theme);
    localTimes();
    setInterval(() => { if (!document.hidden) localTimes(); }, 10000);
    watchChunks();
    markCurrent();
    startLive();
    signIn();
  });
})();
