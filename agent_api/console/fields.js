// The card fields as they are keyed: a dot per digit, a tick when complete, what is wrong in words.

import { say } from "./words.js";

const PLACES = { pan: 16, expiry: 4, cvv: 3 };
const KEYS = { pan: "P", expiry: "Y", cvv: "V" };
const BRANDS = { visa: "Visa", mastercard: "Mastercard", amex: "American Express", canary: "Canary" };

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function dots(field) {
  const row = make("span", "dots");
  row.setAttribute("aria-hidden", "true");
  const places = Math.max(PLACES[field.field] || 1, field.digits);
  for (let at = 0; at < places; at += 1) row.append(make("span", at < field.digits ? "dot on" : "dot"));
  return row;
}

export const brandName = (brand) => BRANDS[brand] || brand || "";

function card(payment) {
  const brand = brandName(payment.brand);
  return payment.last4 ? `${brand} •••• ${payment.last4}` : brand;
}

function middle(field, payment) {
  const cell = make("div", "field-middle");
  if (field.field === "pan" && field.state === "complete") cell.append(make("span", "field-card", card(payment)));
  else if (field.state === "complete") cell.append(make("span", "field-card", "••••".slice(0, field.digits || 3)));
  else cell.append(dots(field), make("span", "hear-only", say("ui_digits", { digits: field.digits })));
  if (field.problem) cell.append(make("p", "field-problem", "! " + field.problem_text));
  return cell;
}

function state(field) {
  const cell = make("span", `field-state ${field.state}`);
  const mark = make("span", "field-mark", { complete: "✓", open: "▸", waiting: "·" }[field.state]);
  mark.setAttribute("aria-hidden", "true");
  cell.append(mark, make("span", "", say(`desk_field_state_${field.state}`)));
  return cell;
}

function again(name, onRekey) {
  const button = make("button", "small");
  button.type = "button";
  button.dataset.key = KEYS[name];
  button.append(make("span", "", say("ui_rekey")), make("kbd", "", `Alt+${KEYS[name]}`));
  button.setAttribute("aria-label", `${say("ui_rekey")}: ${say("desk_field_" + name)}`);
  button.setAttribute("aria-keyshortcuts", `Alt+${KEYS[name]}`);
  button.addEventListener("click", () => onRekey(name));
  return button;
}

function newRow(name, onRekey) {
  const row = make("li", "field");
  row.dataset.field = name;
  row.append(make("span", "field-name", say(`desk_field_${name}`)), make("div", "field-middle"), make("span", "field-state"));
  if (name in KEYS) row.append(again(name, onRekey));
  return row;
}

function update(row, field, payment, live) {
  row.className = `field ${field.state}${field.problem ? " wrong" : ""}`;
  row.children[1].replaceWith(middle(field, payment));
  row.children[2].replaceWith(state(field));
  const button = row.children[3];
  if (!button) return;
  button.hidden = !live || (field.state !== "complete" && field.digits === 0);
  button.disabled = payment.talking;
}

// Draws the fields into `list`; `live`: the agent can still ask for a field again. A row's button lives as long as its row: a key that comes between pressing and
// letting go of the mouse must not eat the click.
export function drawFields(list, payment, live, onRekey) {
  const fields = ["capturing", "ready"].includes(payment.state) ? payment.fields : [];
  const names = fields.map((field) => field.field).join();
  if (list.dataset.names !== names) {
    list.dataset.names = names;
    list.replaceChildren(...fields.map((field) => newRow(field.field, onRekey)));
  }
  fields.forEach((field, at) => update(list.children[at], field, payment, live));
  list.hidden = fields.length === 0;
}
