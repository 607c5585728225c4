// Behind the counter: each service's figures, and the button that stops it or starts it again.

import { post, Refused } from "./api.js";
import { announce, byId, el, showProblem, svg } from "./dom.js";

const KEPT = 60;
const TONES = { running: "good", starting: "waiting", stopping: "waiting", stopped: "undone", unready: "bad" };
const rates = new Map();
const cards = new Map();
const states = new Map();

export function showServices(services) {
  for (const service of services) {
    const kept = rates.get(service.name) ?? new Array(KEPT).fill(0);
    rates.set(service.name, [...kept.slice(1), service.rate_per_s]);
    if (!cards.has(service.name)) {
      cards.set(service.name, build(service.name));
      byId("service-grid").append(cards.get(service.name).root);
    }
    update(cards.get(service.name), service);
    const before = states.get(service.name);
    if (before && before !== service.state) announce(`${service.name} is ${service.state}.`);
    states.set(service.name, service.state);
  }
}

export function bindRush() {
  byId("rush").addEventListener("click", () => attempt(byId("rush"), "/api/rush"));
  byId("restock").addEventListener("click", () => attempt(byId("restock"), "/api/deliveries"));
}

function build(name) {
  const card = {
    state: el("span", { class: "run-state" }),
    rate: el("dd"),
    lag: el("dd"),
    failures: el("dd"),
    area: svg("path", { class: "area" }),
    curve: svg("path"),
    button: el("button", { class: "quiet", type: "button" }),
    elsewhere: el("span", { class: "elsewhere" }, "Runs in another terminal"),
  };
  card.button.addEventListener("click", () => attempt(card.button, `/api/services/${name}/${card.button.dataset.verb}`));
  const figure = (title, value) => el("div", {}, el("dt", {}, title), value);
  card.root = el(
    "li", { class: "card service", "data-service": name },
    el("div", { class: "service-head" }, el("h3", {}, name), card.state),
    el(
      "dl", { class: "figures" },
      figure("Rate", card.rate), figure("Lag", card.lag), figure("Failures", card.failures),
    ),
    svg(
      "svg", { class: "spark", viewBox: `0 0 ${KEPT - 1} 44`, preserveAspectRatio: "none", "aria-hidden": "true" },
      card.area, card.curve,
    ),
    card.button, card.elsewhere,
  );
  return card;
}

function update(card, service) {
  const runs = service.state === "running" || service.state === "starting";
  card.state.dataset.tone = TONES[service.state];
  card.state.textContent = service.state;
  card.rate.replaceChildren(format(service.rate_per_s), el("small", {}, " events/s"));
  card.lag.textContent = service.lag.toLocaleString("en-GB");
  card.lag.dataset.tone = service.lag > 0 ? "waiting" : "";
  card.failures.textContent = service.failures.toLocaleString("en-GB");
  card.failures.dataset.tone = service.failures > 0 ? "bad" : "";
  card.button.hidden = service.elsewhere;
  card.elsewhere.hidden = !service.elsewhere;
  card.elsewhere.textContent = runs ? "Runs in another terminal" : "Ran in another terminal";
  card.button.dataset.verb = runs ? "stop" : "start";
  card.button.disabled = service.state === "stopping";
  card.button.textContent = runs ? `Stop ${service.name}` : `Start ${service.name}`;
  draw(card, rates.get(service.name));
}

function format(rate) {
  return rate >= 100 || rate === 0 ? Math.round(rate).toLocaleString("en-GB") : rate.toFixed(1);
}

function draw(card, values) {
  const top = Math.max(10, ...values);
  const points = values.map((value, index) => `${index} ${(42 - (value / top) * 38).toFixed(1)}`);
  card.curve.setAttribute("d", `M${points.join("L")}`);
  card.area.setAttribute("d", `M0 44L${points.join("L")}L${KEPT - 1} 44Z`);
}

async function attempt(button, path) {
  button.disabled = true;
  showProblem("services-problem", "");
  try {
    await post(path);
  } catch (problem) {
    if (!(problem instanceof Refused)) throw problem;
    showProblem("services-problem", problem.message);
  } finally {
    button.disabled = false;
  }
}
