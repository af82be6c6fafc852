"use strict";
(() => {
const drawing = document.getElementById("drawing"), links = document.getElementById("links");
const numbers = (list) => list.split(",").filter(Boolean).flatMap((part) => {
const [first, last = first] = part.split("-").map(Number);
return Array.from({ length: last - first + 1 }, (_, at) => first + at);
});
const middle = (element) => {
const box = element.getBoundingClientRect(), from = drawing.getBoundingClientRect();
return [box.left + box.width / 2 - from.left, box.top + box.height / 2 - from.top];
};
let marked = [];
const mark = (element, name) => { element.classList.add(name); marked.push([element, name]); };
const clear = () => {
marked.forEach(([element, name]) => element.classList.remove(name));
marked = [];
links.replaceChildren();
};
const point = (event) => {
const queue = event.target.closest("[data-queue]");
clear();
if (!queue) return;
const same = [...document.querySelectorAll("[data-queue]")].filter((one) => one.dataset.queue === queue.dataset.queue);
same.forEach((one) => mark(one, "pointed"));
const chip = same.find((one) => one.classList.contains("chip"));
for (const kind of ["rps", "xps"]) {
for (const number of numbers(queue.dataset[kind] || "")) {
const cpu = document.getElementById("cpu" + number);
if (!cpu) continue;
mark(cpu, "linked-" + kind);
if (!chip || links.childElementCount > 127) continue;
const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
const [x1, y1] = middle(chip), [x2, y2] = middle(cpu);
Object.entries({ x1, y1, x2, y2, class: kind }).forEach(([name, value]) => line.setAttribute(name, value));
links.append(line);
}
}
};
document.addEventListener("pointerover", point);
document.addEventListener("click", point);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
})();
