// Building blocks: elements from data (never from markup, so nothing a person types can become code), and money.

const SVG = "http://www.w3.org/2000/svg";
const money = new Intl.NumberFormat("en-GB", { style: "currency", currency: "GBP" });

export const byId = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "onclick") element.addEventListener("click", value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function pounds(pence) {
  return money.format(pence / 100);
}

let silence;

// Tells people who do not see the screen; what came before is cleared so that a repetition is heard as well.
export function announce(sentence) {
  const announcer = byId("announcer");
  announcer.textContent = "";
  clearTimeout(silence);
  silence = setTimeout(() => { announcer.textContent = sentence; }, 60);
}

export function showProblem(id, sentence) {
  const problem = byId(id);
  problem.textContent = sentence;
  problem.hidden = !sentence;
}
