// Orders and their journeys: a card each, newest first, redrawn when the shop tells of a change.

import { announce, byId, el } from "./dom.js";

const SHOWN = 20;
const OPEN = 1;
const NEW_MS = 10_000;
const cards = new Map();
const opened = new Map();
const known = new Map();
const stopped = new Set();

export function showOrder(order) {
  const before = known.get(order.id);
  // An order may be through before the page first hears of it; only those of an earlier visit are no news.
  const isNew = Date.now() - Date.parse(order.placed_at) < NEW_MS;
  const seen = before?.steps.length ?? (isNew ? 0 : order.steps.length);
  known.set(order.id, order);
  draw(order, seen);
  byId("orders-empty").hidden = true;
  const news = order.steps.slice(seen);
  if (news.length > 0) announce(`Order ${order.id}: ${news.map((step) => step.title).join(", ")}. ${order.headline}.`);
}

export function noteServices(services) {
  const now = services.filter((service) => service.state !== "running").map((service) => service.name);
  if (now.length === stopped.size && now.every((name) => stopped.has(name))) return;
  stopped.clear();
  now.forEach((name) => stopped.add(name));
  for (const order of known.values()) if (!order.settled) draw(order, order.steps.length);
}

export function revealOrder(id) {
  opened.set(id, true);
  const order = known.get(id);
  if (order) draw(order, order.steps.length);
  const orders = byId("orders");
  if (orders.getBoundingClientRect().top > window.innerHeight * 0.7) orders.scrollIntoView();
}

function draw(order, shownSteps) {
  const fresh = card(order, shownSteps);
  const old = cards.get(order.id);
  cards.set(order.id, fresh);
  if (old) {
    fresh.classList.add("redrawn");
    const hadFocus = old.contains(document.activeElement);
    old.replaceWith(fresh);
    if (hadFocus) fresh.querySelector("button")?.focus();
    return;
  }
  const list = byId("journeys");
  const later = [...list.children].find((other) => other.dataset.placed < order.placed_at);
  list.insertBefore(fresh, later ?? null);
  while (list.children.length > SHOWN) {
    const last = list.lastElementChild;
    for (const memory of [cards, known, opened]) memory.delete(last.dataset.order);
    last.remove();
  }
}

function isOpen(order) {
  if (opened.has(order.id)) return opened.get(order.id);
  return [...known.values()].filter((other) => other.placed_at > order.placed_at).length < OPEN;
}

function card(order, shownSteps) {
  const open = isOpen(order);
  const toggle = el(
    "button",
    {
      class: "steps-toggle", type: "button", "aria-expanded": String(open),
      "aria-label": `${open ? "Hide" : "Show"} the journey of order ${order.id}`,
      onclick: () => { opened.set(order.id, !open); draw(order, order.steps.length); },
    },
    open ? "Hide the journey" : `Show the journey (${order.steps.length} steps)`,
  );
  return el(
    "li", { class: "card journey", "data-order": order.id, "data-placed": order.placed_at },
    el(
      "div", { class: "journey-head" },
      el("h3", {}, `Order ${order.id}`),
      el("output", {}, order.total),
      el("p", {}, order.lines.map((line) => `${line.quantity} × ${line.name}`).join(", ")),
      el("p", { class: "headline", "data-tone": order.tone }, order.headline),
    ),
    el("ul", { class: "lanes" }, ...order.lanes.map(lane)),
    open ? el("ol", { class: "steps" }, ...order.steps.map((step, index) => stepRow(step, index >= shownSteps))) : null,
    toggle,
  );
}

function lane({ service, label, tone }) {
  const idle = tone === "waiting" && stopped.has(service) ? "Service is stopped" : label;
  return el("li", { class: "lane", "data-tone": tone }, el("b", {}, service), el("span", {}, idle));
}

function stepRow(step, isFresh) {
  return el(
    "li", { class: isFresh ? "step fresh" : "step", "data-tone": step.tone },
    el("span", {}, el("b", {}, step.title), el("small", {}, step.detail)),
    el("time", {}, step.title === "Order placed" ? "" : after(step.after_ms)),
  );
}

function after(ms) {
  if (ms < 1000) return `+${ms} ms`;
  if (ms < 60_000) return `+${(ms / 1000).toFixed(1)} s`;
  return `+${Math.round(ms / 60_000)} min`;
}
