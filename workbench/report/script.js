"use strict";

// Tables sort by any column; numbers from high to low first, words as in a dictionary, missing ones always last.
function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const original = [...body.rows];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = column === 0 ? "ascending" : "descending";
      const second = column === 0 ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? second : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      body.append(...original.toSorted((a, b) => compare(a.cells[column], b.cells[column], order)));
    });
  });
}

function compare(a, b, order) {
  const sign = order === "ascending" ? 1 : -1;
  if (a.tagName === "TH") return sign * a.textContent.localeCompare(b.textContent);
  const [left, right] = [a.dataset.value, b.dataset.value];
  if (left === undefined || right === undefined) return (left === undefined) - (right === undefined);
  const difference = Number(left) - Number(right);
  return sign * (Number.isNaN(difference) ? left.localeCompare(right) : difference);
}

// Generations are filtered by method, concept and text; a group without a visible card hides too.
function makeFilter(form) {
  const groups = [...form.parentElement.querySelectorAll(".group")];
  const apply = () => {
    const data = new FormData(form);
    const methods = new Set(data.getAll("method"));
    const concept = data.get("concept");
    const text = data.get("text").trim().toLowerCase();
    let count = 0;
    for (const group of groups) {
      const inConcept = concept === "" || group.dataset.concept === concept;
      let any = false;
      for (const card of group.querySelectorAll(".card")) {
        const said = card.querySelector(".answer").textContent.toLowerCase();
        const shown = inConcept && methods.has(card.dataset.method) && said.includes(text);
        card.hidden = !shown;
        any ||= shown;
        count += shown;
      }
      group.hidden = !any;
    }
    form.querySelector("output").textContent = count === 1 ? "1 generation" : `${count} generations`;
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("change", apply); // all that automation and some assistive tools send
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
}

// Print everything, also what is folded on the screen.
function unfoldForPrint() {
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((each) => (each.open = true));
  });
  addEventListener("afterprint", () => folded.forEach((each) => (each.open = false)));
}

document.querySelectorAll("table.numbers").forEach(makeSortable);
document.querySelectorAll("form.filters").forEach(makeFilter);
unfoldForPrint();
