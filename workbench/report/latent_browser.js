"use strict";

// Whatever a model or a text brings along is written as text; nothing is ever parsed as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const FIELDS = ["name", "description", "density", "largest", "mean", "top", "middle", "promoted", "suppressed", "neighbours", "generation"];
const latents = data.latents.map((row, number) => ({ number, ...Object.fromEntries(FIELDS.map((field, at) => [field, row[at]])) }));
const STEP = 100;
const ORDERS = {
  number: (a, b) => a.number - b.number,
  density: (a, b) => b.density - a.density,
  rare: (a, b) => a.density - b.density,
  largest: (a, b) => b.largest - a.largest,
};
const form = document.getElementById("find");
const list = document.getElementById("list");
const more = document.getElementById("more");
const article = document.getElementById("latent");
let found = [];

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function percent(share) {
  return share === 0 ? "silent" : `${Number((100 * share).toPrecision(2))} %`;
}

function token(number) {
  return data.tokens[number].replaceAll("\n", "↵");
}

// What a latent is searched by: its number, name, description and the words that it promotes.
function searched(latent) {
  latent.searched ??= [latent.number, latent.name, latent.description, ...latent.promoted.map(([at]) => data.tokens[at])].join(" ").toLowerCase();
  return latent.searched;
}

function search() {
  const asked = new FormData(form);
  const words = asked.get("text").toLowerCase().split(/\s+/).filter(Boolean);
  found = latents.filter((latent) => (asked.has("silent") || latent.largest > 0) && words.every((word) => searched(latent).includes(word)));
  found.sort(ORDERS[asked.get("order")]);
  form.querySelector("output").textContent = found.length === 1 ? "1 latent" : `${found.length} latents`;
  list.replaceChildren();
  extend();
}

function extend() {
  const begin = list.children.length;
  list.append(...found.slice(begin, begin + STEP).map(entry));
  more.hidden = list.children.length >= found.length;
  mark();
}

function entry(latent) {
  return make("li", {}, make("a", { href: `#${latent.number}` },
    make("span", { className: "number", textContent: latent.number }),
    make("span", { className: "about", textContent: latent.name || latent.description }),
    make("span", { className: "share", textContent: percent(latent.density) })));
}

function current() {
  const number = Number(location.hash.slice(1));
  return location.hash.length > 1 && latents[number] ? latents[number] : found[0] ?? latents[0];
}

function mark() {
  const here = `#${current()?.number}`;
  for (const link of list.querySelectorAll("a")) {
    if (link.getAttribute("href") === here) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function show() {
  const latent = current();
  article.replaceChildren();
  if (!latent) return;
  article.append(
    make("h2", { textContent: `Latent ${latent.number}` }),
    ...[latent.name, latent.description].filter(Boolean).map((text) => make("p", { className: "said", textContent: text })),
    facts({ "Active at": percent(latent.density), "Largest activation": latent.largest, "Mean where active": latent.mean }),
    ...contexts("Largest activations", latent.top),
    ...contexts("Middling activations", latent.middle),
    make("div", { className: "effects" },
      words("Makes likelier", latent.promoted.map(([at, value]) => [token(at), value])),
      words("Makes less likely", latent.suppressed.map(([at, value]) => [token(at), value]))),
    neighbours(latent),
  );
  if (latent.generation !== null) {
    article.append(make("h3", { textContent: "A text written under it" }), make("p", { className: "said", textContent: data.generated }),
      make("p", { className: "context", id: "generation", textContent: latent.generation }));
  }
  mark();
}

function facts(pairs) {
  return make("dl", { className: "facts" }, ...Object.entries(pairs).map(([name, value]) =>
    make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value }))));
}

function contexts(title, all) {
  if (!all.length) return [];
  return [make("h3", { textContent: title }), ...all.map(([tokens, steps, largest]) => make("p", { className: "context" },
    make("span", { className: "value", textContent: largest }),
    ...tokens.map((number, at) => steps[at] === "0" ? token(number) : make("span", { className: `shade-${steps[at]}`, textContent: token(number) }))))];
}

function words(title, pairs) {
  return make("section", {}, make("h3", { textContent: title }), make("ul", { className: "words" }, ...pairs.map(([text, value]) =>
    make("li", {}, text, " ", make("small", { textContent: value })))));
}

function neighbours(latent) {
  return make("section", {}, make("h3", { textContent: "Nearest in direction" }), make("ul", { className: "words", id: "neighbours" },
    ...latent.neighbours.map(([number, cosine]) => make("li", {}, make("a", { href: `#${number}`, textContent: number }), " ",
      make("small", { textContent: `${cosine} ${latents[number].name || latents[number].description}` })))));
}

form.addEventListener("input", search);
form.addEventListener("change", search); // all that automation and some assistive tools send
form.addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", extend);
addEventListener("hashchange", show);
search();
show();
