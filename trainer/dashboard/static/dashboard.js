"use strict";
// Looks again at the parts of a page: an element with data-part is filled from that address every data-every seconds.
// What is the same costs a 304. Only sections that changed are replaced, so that focus and open details stay.
(() => {
  const news = document.getElementById("news");
  const connection = document.getElementById("connection");
  const tags = new Map();
  const sources = new WeakMap(); // elements -> what they were before this script touched them
  let lastNews = told();

  function told() {
    return [...document.querySelectorAll("[data-news]")].map((one) => one.dataset.news).join(". ");
  }

  function take(part, html) {
    const fresh = new DOMParser().parseFromString(html, "text/html").body;
    const now = [...part.children];
    const next = [...fresh.children];
    if (now.length !== next.length || now.some((one, i) => one.id !== next[i].id)) {
      next.forEach(remember);
      keepingFocus(() => part.replaceChildren(...next));
      return;
    }
    now.forEach((one, i) => {
      if (sources.get(one) !== next[i].outerHTML) {
        remember(next[i]);
        keepingFocus(() => one.replaceWith(next[i]));
      }
    });
  }

  function remember(element) {
    sources.set(element, element.outerHTML);
  }

  function keepingFocus(change) {
    const focused = document.activeElement;
    const id = focused && focused !== document.body ? focused.id : "";
    const open = [...document.querySelectorAll("details[open]")].map((one) => one.closest("[id]")?.id);
    change();
    if (id && !document.contains(focused)) document.getElementById(id)?.focus({ preventScroll: true });
    for (const one of open) document.querySelector(`[id="${one}"] details`)?.setAttribute("open", "");
  }

  async function look(part) {
    try {
      const headers = tags.has(part) ? { "If-None-Match": tags.get(part) } : {};
      const answer = await fetch(part.dataset.part, { headers, cache: "no-store", credentials: "same-origin" });
      if (answer.status !== 304) {
        if (!answer.ok) throw new Error(`status ${answer.status}`);
        take(part, await answer.text());
        tags.set(part, answer.headers.get("ETag"));
      }
      connection.hidden = true;
    } catch {
      if (connection.hidden) {
        const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
        connection.textContent = `Winnow does not answer since ${time}; what you see may be old. Trying again.`;
        connection.hidden = false;
      }
    }
    const heard = told();
    if (heard !== lastNews) news.textContent = lastNews = heard;
    showAges();
  }

  function showAges() {
    for (const time of document.querySelectorAll("time[data-age]")) {
      const minutes = Math.max(0, Math.round((Date.now() - Date.parse(time.dateTime)) / 60000));
      const [count, unit] = minutes < 120 ? [minutes, "minute"] : [Math.round(minutes / 60), "hour"];
      const age = ` (${count} ${unit}${count === 1 ? "" : "s"} ago)`;
      time.textContent = time.textContent.replace(/ \(\d+ .* ago\)$/, "") + age;
    }
  }

  // Sections out of sight have no true height until they are drawn: going to one is done anew while it moves.
  function arrive(tries = 8) {
    const goal = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!goal || !tries) return;
    goal.scrollIntoView();
    requestAnimationFrame(() => arrive(tries - 1));
  }
  addEventListener("hashchange", () => arrive());
  arrive();

  for (const part of document.querySelectorAll("[data-part]")) {
    [...part.children].forEach(remember);
    setInterval(() => document.hidden || look(part), 1000 * Number(part.dataset.every));
    document.addEventListener("visibilitychange", () => document.hidden || look(part));
  }
  document.getElementById("done")?.focus();
  showAges();
})();
