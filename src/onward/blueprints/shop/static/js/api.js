// Requests to the shop. Each one that changes something carries the page's token.

const token = document.querySelector('meta[name="csrf-token"]').content;

export class Refused extends Error {}

export async function get(path) {
  return read(await fetch(path));
}

export async function post(path, body = {}) {
  const request = {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": token },
    body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(path, request);
  } catch {
    throw new Refused("The shop does not answer. Is it still running?");
  }
  return read(answer);
}

async function read(answer) {
  const data = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(data.error ?? `The shop answered ${answer.status}.`);
  return data;
}
