// The live stream. The browser reconnects by itself, and the shop then sends everything that is shown again.

const STATES = { live: "Live", waiting: "Connecting", lost: "Connection lost, trying again" };

export function listen({ order, levels, services, state }) {
  const stream = new EventSource("/api/live");
  const tell = (name) => state(name, STATES[name]);
  stream.addEventListener("open", () => tell("live"));
  stream.addEventListener("order", (event) => order(JSON.parse(event.data)));
  stream.addEventListener("levels", (event) => levels(JSON.parse(event.data)));
  stream.addEventListener("services", (event) => services(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    tell("lost");
    if (stream.readyState === EventSource.CLOSED) {
      stream.close();
      setTimeout(() => listen({ order, levels, services, state }), 2000);
    }
  });
}
