"use strict";
// Search and filter. Without this script everything is shown, and every link and fold works.
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const form = document.getElementById("filter");
  const search = document.getElementById("search");
  const told = document.getElementById("shown");
  const boxes = all("#filter input[type=checkbox]");
  const rules = all(".rule").map((element) => ({
    element,
    status: element.dataset.status,
    text: element.textContent.toLowerCase(),
  }));
  const rows = all("tr[data-rule]");
  const scenarios = all(".scenario");
  const components = all(".component");
  const links = new Map(all("nav a").map((a) => [a.getAttribute("href"), a.closest("li")]));

  function apply() {
    const wanted = boxes.filter((box) => box.checked).map((box) => box.value);
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const active = wanted.length > 0 || words.length > 0;
    const shown = new Set();
    for (const { element, status, text } of rules) {
      const hit = (!wanted.length || wanted.includes(status)) && words.every((word) => text.includes(word));
      element.hidden = !hit;
      if (hit) shown.add(element.id);
    }
    for (const row of rows) row.hidden = !shown.has(row.dataset.rule);
    for (const scenario of scenarios) {
      scenario.hidden = active && !scenario.dataset.rules.split(" ").some((rule) => shown.has(rule));
    }
    for (const component of components) {
      component.hidden = active && !component.querySelector(".rule:not([hidden])");
      const link = links.get("#" + component.id);
      if (link) link.hidden = component.hidden;
    }
    document.getElementById("nothing").hidden = shown.size > 0;
    document.getElementById("clear").hidden = !active;
    told.textContent = `${shown.size} of ${rules.length} rules`;
    remember(wanted);
    makeRoom();
  }

  // What a link leads to must not come to stand below the bar.
  function makeRoom() {
    const covers = getComputedStyle(form).position === "sticky" ? form.offsetHeight : 0;
    document.documentElement.style.scrollPaddingTop = `${covers + 14}px`;
  }

  function remember(wanted) {
    const query = new URLSearchParams(wanted.map((status) => ["status", status]));
    if (search.value) query.set("q", search.value);
    const text = query.toString();
    try {
      history.replaceState(null, "", location.pathname + (text && "?" + text) + location.hash);
    } catch {
      // some browsers let no page from a file change its address: the filter works all the same
    }
  }

  function clear() {
    search.value = "";
    for (const box of boxes) box.checked = false;
    apply();
  }

  // What a link leads to is shown, whatever is folded or filtered.
  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.closest("[hidden]")) clear();
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    target.scrollIntoView();
  }

  const asked = new URLSearchParams(location.search);
  search.value = asked.get("q") ?? "";
  for (const box of boxes) box.checked = asked.getAll("status").includes(box.value);
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", apply);
  document.getElementById("clear").addEventListener("click", () => { clear(); search.focus(); });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input[type=search]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape") {
      clear();
    }
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (link && link.getAttribute("href") === location.hash) reveal(); // no hashchange: it is there already
  });
  window.addEventListener("hashchange", reveal);
  window.addEventListener("resize", makeRoom);
  apply();
  if (location.hash) reveal();
  else if (location.search) form.scrollIntoView();
})();
