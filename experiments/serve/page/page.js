// The page of the server: two conversations with one question each time, the second one steered.
"use strict";

const $ = (id) => document.getElementById(id);
const SIDES = ["unsteered", "steered"];
let model = "", vectors = [], token = "", running = null;
const beginning = () => ({ unsteered: [], steered: [], readings: [] });
let talk = beginning(); // messages of both sides, and of each answer where it is shown and what vectors read in it

function make(kind, { classes = "", text = "", ...rest } = {}, ...children) {
  const made = Object.assign(document.createElement(kind), rest);
  if (classes) made.className = classes;
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function complain(message) {
  $("problem").textContent = message;
  $("problem").hidden = !message;
}

async function call(path, options = {}) {
  const headers = { ...(options.body ? { "Content-Type": "application/json" } : {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const reply = await fetch(path, { ...options, headers });
  if (reply.status === 401) $("access").hidden = false;
  if (!reply.ok) {
    const told = await reply.json().catch(() => null);
    throw new Error(told?.error?.message ?? `the server answered ${reply.status}`);
  }
  return reply;
}

async function begin() {
  try {
    model = (await (await call("/v1/models")).json()).data[0].id;
    vectors = (await (await call("/v1/vectors")).json()).data.filter((vector) => !vector.problem);
    $("access").hidden = true;
    $("about").textContent = `The same question, answered by ${model} as it is and as vectors steer it.`;
    $("add").disabled = !vectors.length;
    if (!vectors.length) $("about").textContent += " This server has no vectors; start it with --vectors FOLDER.";
    else if (!$("vectors").children.length) addVector();
    complain("");
  } catch (error) {
    complain(error.message);
  }
}

const concept = (id) => vectors.find((vector) => vector.id === id).concept;

function addVector() {
  const choice = make("select", { ariaLabel: "Vector" }, ...vectors.map((vector) => make("option", { value: vector.id, text: `${vector.concept} (${vector.id})` })));
  const slider = make("input", { type: "range", min: -2, max: 2, step: 0.1, value: 0.8, ariaLabel: "Strength" });
  const number = make("input", { type: "number", step: 0.1, value: 0.8, ariaLabel: "Strength as a number" });
  const remove = make("button", { type: "button", text: "Remove" });
  slider.addEventListener("input", () => { number.value = slider.value; });
  number.addEventListener("input", () => { slider.value = number.value; });
  const row = make("div", { classes: "vector" }, choice, slider, number, remove);
  remove.addEventListener("click", () => row.remove());
  $("vectors").append(row);
}

function chosen() {
  return [...$("vectors").children].map((row) => ({
    vector: row.querySelector("select").value,
    strength: Number(row.querySelector("input[type=number]").value),
    positions: $("positions").value,
  }));
}

async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

async function answer(past, side, question, steering, place, signal) {
  const messages = [...past[side], { role: "user", content: question }];
  const body = {
    model, messages, stream: true, steering: side === "steered" ? steering : [],
    read: [...new Set(steering.map((each) => each.vector))],
    temperature: Number($("temperature").value), top_p: Number($("top_p").value),
    max_tokens: Number($("max_tokens").value), seed: Number($("seed").value),
  };
  let text = "";
  place.classList.add("writing");
  try {
    const reply = await call("/v1/chat/completions", { method: "POST", body: JSON.stringify(body), signal });
    for await (const event of events(reply)) {
      if (event.error) throw new Error(event.error.message);
      const choice = event.choices[0];
      if (choice?.delta?.content) place.textContent = text += choice.delta.content;
      if (choice?.readings) past.readings.push({ place, ...choice.readings });
    }
  } finally {
    place.classList.remove("writing");
    if (text) past[side] = [...messages, { role: "assistant", content: text }];
  }
}

function shade() {
  const names = [...new Set(talk.readings.flatMap((each) => Object.keys(each.values)))];
  const before = $("shading").value;
  $("shading").replaceChildren(...names.map((name) => make("option", { value: name, text: name })));
  if (names.includes(before)) $("shading").value = before;
  $("key").hidden = !names.length;
  for (const { place, tokens, values } of talk.readings) {
    const mine = values[$("shading").value] ?? [];
    place.replaceChildren(...tokens.map((text, at) => {
      const step = Math.min(9, Math.max(0, Math.ceil(9 * (mine[at] ?? 0))));
      return make("span", { classes: `s${step}`, text, title: mine[at]?.toFixed(2) ?? "" });
    }));
  }
}

async function ask(question) {
  const steering = chosen(), shown = steering.length ? SIDES : SIDES.slice(0, 1);
  const heads = { unsteered: "as it is", steered: steering.map(({ vector, strength }) => `${concept(vector)} × ${strength}`).join(" + ") };
  const places = shown.map(() => make("div", { classes: "text" }));
  const sides = shown.map((side, at) => make("div", {}, make("p", { classes: "who", text: heads[side] }), places[at]));
  $("talk").append(make("div", { classes: "exchange" }, make("p", { classes: "question", text: question }), make("div", { classes: "sides" }, ...sides)));
  const past = talk, before = past.unsteered.length; // an answer that is stopped belongs to the talk that it began in
  running = new AbortController();
  $("send").disabled = true;
  $("stop").disabled = false;
  complain("");
  const ended = await Promise.allSettled(shown.map((side, at) => answer(past, side, question, steering, places[at], running.signal)));
  if (!steering.length) past.steered.push(...past.unsteered.slice(before));
  for (const { reason } of ended) if (reason && reason.name !== "AbortError") complain(reason.message);
  running = null;
  $("send").disabled = false;
  $("stop").disabled = true;
  shade();
}

$("access").addEventListener("submit", (event) => { event.preventDefault(); token = $("token").value; begin(); });
$("add").addEventListener("click", addVector);
$("shading").addEventListener("change", shade);
$("stop").addEventListener("click", () => running?.abort());
$("anew").addEventListener("click", () => {
  running?.abort();
  talk = beginning();
  $("talk").replaceChildren();
  $("key").hidden = true;
});
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (!question || running) return;
  $("question").value = "";
  ask(question);
});
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); $("ask").requestSubmit(); }
});
$("talk").addEventListener("click", (event) => {
  if (event.target.title) $("reading").textContent = `“${event.target.textContent}” reads ${event.target.title}`;
});
begin();
