// Opens the shop: the catalogue first, then everything that moves.

import { get } from "./api.js";
import { add, openBasket } from "./basket.js";
import { showCatalogue, showLevels } from "./catalogue.js";
import { byId } from "./dom.js";
import { noteServices, revealOrder, showOrder } from "./journeys.js";
import { listen } from "./live.js";
import { bindRush, showServices } from "./services.js";

const catalogue = await get("/api/catalogue");
showCatalogue(catalogue.products, add);
openBasket(catalogue, revealOrder);
bindRush();
listen({
  order: showOrder,
  levels: showLevels,
  services(services) {
    showServices(services);
    noteServices(services);
  },
  state(name, sentence) {
    byId("connection").dataset.state = name;
    byId("connection").textContent = sentence;
  },
});
