// Payments of before: finding them, what was tried with them, and the money steps that are still possible.
// Which steps those are the desk says (`actions`); this page only offers them.

import * as desk from "./desk.js";
import { brandName, make } from "./fields.js";
import { minorUnits, moment, money, plain, say } from "./words.js";

const ACTIONS = ["settle", "void", "refund"];
const REASONS = ["requested", "duplicate", "mistake", "fraud"];
const CRITERIA = ["reference", "receipt", "customer"];

const $ = (id) => document.getElementById(id);
const show = (id, on) => { $(id).hidden = !on; };

export class Later {
  // on: { run(work), twice(button, work), refuse(id, label) } of the page
  constructor(on) {
    this.on = on;
    this.history = null;
    this.search = null;
    this.sent = null; // the step that was asked for and its key, until the desk has answered
    this.typed = false; // whether the amount is the agent's own, which no news may change
    $("find-form").addEventListener("submit", (event) => { event.preventDefault(); this.find(); });
    $("step-form").addEventListener("submit", (event) => event.preventDefault());
    $("receipt-form").addEventListener("submit", (event) => { event.preventDefault(); this.receipt(); });
    $("step-amount").addEventListener("input", (event) => { this.typed = true; event.target.removeAttribute("aria-invalid"); });
    $("find-more").addEventListener("click", () => on.run(() => this.page()));
    $("detail-close").addEventListener("click", () => this.close());
    for (const action of ACTIONS) $(action).addEventListener("click", () => this.press(action));
  }

  // The words of the choices, once the language is known; `media`: how receipts can be sent here.
  learn(media) {
    this.media = media;
    $("receipt-medium").replaceChildren(...media.map((one) => new Option(say(`ui_medium_${one}`), one)));
    $("find-by").replaceChildren(...CRITERIA.map((one) => new Option(say(`ui_find_${one}`), one)));
    $("step-reason").replaceChildren(...REASONS.map((one) => new Option(say(`ui_reason_${one}`), one)));
  }

  // Nothing of one agent's work stays on the screen of the next.
  forget() {
    this.close();
    this.search = null;
    $("find-text").value = "";
    $("found").replaceChildren();
    for (const id of ["found", "find-more", "find-none"]) show(id, false);
  }

  find() {
    const text = $("find-text").value.trim();
    if (!text) return this.on.refuse("find-text", "problem_search_too_wide");
    this.search = { [$("find-by").value]: text, before: "" };
    $("found").replaceChildren();
    return this.on.run(() => this.page());
  }

  async page() {
    const page = await desk.search(this.search);
    this.search.before = page.next;
    $("found").append(...page.payments.map((payment) => this.row(payment)));
    show("found", $("found").children.length > 0);
    show("find-none", $("found").children.length === 0);
    show("find-more", page.next !== "");
  }

  row(payment) {
    const item = make("li", "found-row");
    const button = make("button", "found-open");
    button.type = "button";
    button.append(
      make("span", "found-amount", money(payment.amount_minor, payment.currency)),
      make("span", "found-state", payment.state_text),
      make("span", "found-what", `${payment.reference} · ${moment(payment.created_at)}`),
    );
    button.addEventListener("click", () => this.on.run(() => this.open(payment.payment_id)));
    item.append(button);
    return item;
  }

  async open(paymentId) {
    this.draw(await desk.history(paymentId));
    $("detail").focus();
  }

  close() {
    this.history = this.sent = null;
    show("detail", false);
  }

  // The stream has told something of a payment: what is shown of it is fetched anew.
  async noticed(payment) {
    const shown = this.history?.payment;
    if (!shown || shown.payment_id !== payment.payment_id || payment.version <= shown.version) return;
    const history = await desk.history(payment.payment_id).catch(() => null);
    const still = this.history?.payment;
    if (history && still?.payment_id === payment.payment_id && history.payment.version >= still.version) this.draw(history);
  }

  draw(history) {
    const before = this.history?.payment;
    const { payment, actions } = (this.history = history);
    show("detail", true);
    $("detail-amount").textContent = money(payment.amount_minor, payment.currency);
    $("detail-state").textContent = payment.state_text;
    $("detail-what").textContent = [payment.reference, card(payment), payment.receipt && say("ui_receipt", { receipt: payment.receipt })].filter(Boolean).join(" · ");
    $("detail-sums").replaceChildren(...sums(payment).map((text) => make("li", "", text)));
    show("detail-sums", sums(payment).length > 0);
    $("detail-checking").textContent = waiting(payment);
    show("detail-checking", waiting(payment) !== "");
    $("detail-history").replaceChildren(...events(history).map((text) => make("li", "", text)));
    this.offer(payment, actions);
    show("receipt-form", Boolean(payment.receipt) && this.media.length > 0);
    if (before?.payment_id !== payment.payment_id) {
      $("receipt-to").value = $("receipt-told").textContent = "";
      this.typed = false;
    }
    if (!this.typed) $("step-amount").value = plain(rest(payment), payment.currency);
  }

  offer(payment, actions) {
    show("step-form", actions.length > 0);
    show("no-actions", actions.length === 0 && !waiting(payment));
    for (const action of ACTIONS) show(action, actions.includes(action));
  }

  // The address goes to the desk and stays nowhere on the page.
  receipt() {
    const body = { medium: $("receipt-medium").value, to: $("receipt-to").value.trim() };
    if (!body.to) return this.on.refuse("receipt-to", "problem_address_malformed");
    return this.on.run(async () => {
      await desk.orderReceipt(this.history.payment.payment_id, body);
      $("receipt-to").value = "";
      $("receipt-told").textContent = say("ui_receipt_ordered");
    });
  }

  // The first press asks for a second one; what it will do stands on the button.
  press(action) {
    const { payment } = this.history;
    const amount = action === "void" ? null : minorUnits($("step-amount").value, payment.currency);
    if (action !== "void" && !amount) return this.on.refuse("step-amount", "ui_amount_wrong");
    const told = amount === null ? "" : money(amount, payment.currency);
    $(action).dataset.sureText = say(`ui_${action}_sure`, { amount: told });
    return this.on.twice($(action), () => this.on.run(() => this.take(payment.payment_id, action, amount)));
  }

  async take(paymentId, action, amount) {
    const body = { ...(amount === null ? {} : { amount_minor: amount }), ...(action === "settle" ? {} : { reason: $("step-reason").value }) };
    const same = JSON.stringify([paymentId, action, body]);
    // After a lost answer the same press is the same step.
    if (this.sent?.same !== same) this.sent = { same, key: crypto.randomUUID() };
    try {
      await desk.takeStep(paymentId, action, body, this.sent.key);
      this.sent = null;
      this.typed = false;
    } catch (problem) {
      if (!problem.retryable) this.sent = null;
      throw problem;
    } finally {
      const history = await desk.history(paymentId).catch(() => null);
      if (history && this.history?.payment.payment_id === paymentId) this.draw(history);
    }
  }
}

const card = (payment) => (payment.last4 ? `${brandName(payment.brand)} •••• ${payment.last4}` : "");

// What a step would move if nobody says less.
const rest = (payment) => (payment.state === "settled" ? payment.settled_minor - payment.refunded_minor : payment.amount_minor);

function sums(payment) {
  const lines = [];
  if (payment.settled_minor) lines.push(say("ui_paid_sum", { amount: money(payment.settled_minor, payment.currency) }));
  if (payment.refunded_minor) lines.push(say("ui_refunded_sum", { amount: money(payment.refunded_minor, payment.currency) }));
  if (payment.state === "authorised" && payment.hold_until) lines.push(say("ui_hold_until", { time: moment(payment.hold_until) }));
  return lines;
}

function waiting(payment) {
  if (payment.checking) return say("ui_checking");
  return payment.step ? say("ui_step_running", { step: say(`ui_step_${payment.step}`) }) : "";
}

// Attempts and steps as lines, in the order in which they began.
function events({ payment, attempts, steps }) {
  const lines = attempts.map((one) => [one.started_at, say("ui_attempt", { number: one.attempt, state: one.decline_text || one.state_text })]);
  for (const one of steps) {
    const words = [say(`ui_step_${one.step}`), money(one.amount_minor, payment.currency), say(`ui_step_${one.state}`), one.by];
    lines.push([one.started_at, words.join(" · ")]);
  }
  return lines.sort((a, b) => (a[0] < b[0] ? -1 : 1)).map(([at, text]) => `${moment(at)} · ${text}`);
}
