// The shelves: a tile for each product, its stock kept up to date.

import { byId, el, pounds } from "./dom.js";

const FEW = 5;
const tags = new Map();

export function showCatalogue(products, add) {
  byId("products").replaceChildren(...products.map((product) => tile(product, add)));
  for (const product of products) showLevel(product.sku, product.free);
}

export function showLevels(levels) {
  for (const [sku, free] of Object.entries(levels)) showLevel(sku, free);
}

function tile(product, add) {
  const tag = el("span", { class: "stock" });
  tags.set(product.sku, tag);
  return el(
    "li", { class: "product" },
    el("div", { class: "product-picture" }, el("img", { src: product.picture, alt: "" }), tag),
    el("div", { class: "product-words" }, el("h3", {}, product.name), el("p", {}, product.blurb)),
    el(
      "div", { class: "product-buy" },
      el("span", { class: "price" }, pounds(product.pence)),
      el(
        "button",
        { class: "add", type: "button", "aria-label": `Add ${product.name} to the basket`, onclick: () => add(product.sku) },
        "Add",
      ),
    ),
  );
}

function showLevel(sku, free) {
  const tag = tags.get(sku);
  if (!tag) return;
  tag.hidden = free === null || free === undefined;
  tag.dataset.level = free > FEW ? "many" : free > 0 ? "few" : "none";
  tag.textContent = free > FEW ? "In stock" : free > 0 ? `Only ${free} left` : "Sold out";
}
