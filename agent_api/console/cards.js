// The kept cards of the customer who is named in the form: pay by one, or forget it.

import * as desk from "./desk.js";
import { brandName, make } from "./fields.js";
import { say } from "./words.js";

const $ = (id) => document.getElementById(id);

const text = (card) =>
  say("ui_card", { brand: brandName(card.brand), last4: card.last4, month: String(card.expiry_month).padStart(2, "0"), year: card.expiry_year });

export class Cards {
  // on: { run(work), twice(button, work), disarm(), refuse(id, label), pay(cardId) } of the page
  constructor(on) {
    this.on = on;
    $("cards-show").addEventListener("click", () => this.list());
    $("customer").addEventListener("input", () => this.clear());
  }

  clear() {
    $("cards").replaceChildren();
    $("cards").hidden = $("cards-none").hidden = true;
  }

  list() {
    const customer = $("customer").value.trim();
    if (!customer) return this.on.refuse("customer", "problem_customer_missing");
    return this.on.run(() => this.fetch(customer));
  }

  async fetch(customer) {
    const { cards } = await desk.cards(customer);
    this.clear();
    $("cards").append(...cards.map((card) => this.row(customer, card)));
    $("cards").hidden = cards.length === 0;
    $("cards-none").hidden = cards.length > 0;
  }

  row(customer, card) {
    const row = make("li", "kept");
    const pay = this.button("ui_pay_card", card, () => this.on.pay(card.card_id));
    const forget = this.button("ui_forget_card", card, () =>
      this.on.twice(forget, () => this.on.run(async () => { await desk.forgetCard(customer, card.card_id); await this.fetch(customer); })));
    forget.dataset.sure = "ui_forget_card_sure";
    forget.addEventListener("blur", this.on.disarm);
    const name = make("span", "kept-card", text(card));
    name.id = `kept-${card.card_id}`;
    row.append(name, pay, forget);
    return row;
  }

  button(label, card, work) {
    const button = make("button", "small", say(label));
    button.type = "button";
    button.dataset.label = label;
    button.setAttribute("aria-describedby", `kept-${card.card_id}`);
    button.addEventListener("click", work);
    return button;
  }
}
