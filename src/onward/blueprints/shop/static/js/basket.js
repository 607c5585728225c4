// The basket and the checkout. The page does not police stock: whether goods are there is for inventory to say.

import { post, Refused } from "./api.js";
import { announce, byId, el, pounds, showProblem } from "./dom.js";

const MOST = 20;
const quantities = new Map();
let products = new Map();

export function openBasket(catalogue, placed) {
  products = new Map(catalogue.products.map((product) => [product.sku, product]));
  byId("card-limit").textContent = `Accepted up to ${pounds(catalogue.card_limit_pence)}`;
  byId("checkout").addEventListener("submit", (event) => {
    event.preventDefault();
    order(placed);
  });
}

export function add(sku) {
  change(sku, 1);
  announce(`${products.get(sku).name} added. The total is ${pounds(total())}.`);
}

function change(sku, by) {
  const quantity = Math.min(MOST, (quantities.get(sku) ?? 0) + by);
  if (quantity > 0) quantities.set(sku, quantity);
  else quantities.delete(sku);
  show();
}

function total() {
  let pence = 0;
  for (const [sku, quantity] of quantities) pence += products.get(sku).pence * quantity;
  return pence;
}

function show() {
  const count = [...quantities.values()].reduce((sum, quantity) => sum + quantity, 0);
  for (const id of ["basket-count", "dock-count"]) {
    byId(id).textContent = count;
    byId(id).hidden = count === 0;
  }
  byId("basket-empty").hidden = count > 0;
  byId("checkout").hidden = count === 0;
  byId("basket-total").textContent = pounds(total());
  const focused = document.activeElement?.dataset?.step;
  byId("basket-lines").replaceChildren(...[...quantities].map(([sku, quantity]) => line(sku, quantity)));
  if (focused) document.querySelector(`[data-step="${focused}"]`)?.focus();
}

function line(sku, quantity) {
  const { name, pence, picture } = products.get(sku);
  const step = (label, by, sign) => el(
    "button",
    { type: "button", "aria-label": label, "data-step": `${sku}${sign}`, onclick: () => change(sku, by) },
    sign,
  );
  return el(
    "li", { class: "basket-line" },
    el("img", { src: picture, alt: "" }),
    el("b", {}, name),
    el("output", {}, pounds(pence * quantity)),
    el(
      "div", { class: "stepper" },
      step(`One ${name} less`, -1, "−"),
      el("span", { "aria-label": `${quantity} of ${name}` }, String(quantity)),
      step(`One ${name} more`, 1, "+"),
      el(
        "button",
        { type: "button", class: "remove", "aria-label": `Remove ${name}`, onclick: () => change(sku, -quantity) },
        "Remove",
      ),
    ),
  );
}

async function order(placed) {
  const form = new FormData(byId("checkout"));
  const button = byId("order");
  button.disabled = true;
  showProblem("checkout-problem", "");
  try {
    const answer = await post("/api/orders", {
      customer: form.get("customer"),
      payment_method: form.get("payment"),
      items: [...quantities].map(([sku, quantity]) => ({ sku, quantity })),
    });
    quantities.clear();
    show();
    placed(answer.order_id);
  } catch (problem) {
    if (!(problem instanceof Refused)) throw problem;
    showProblem("checkout-problem", problem.message);
  } finally {
    button.disabled = false;
  }
}
