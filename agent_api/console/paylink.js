// A payment sent as a link: the address goes into the request and is forgotten; how far the link is comes from the
// stream like everything else.

import * as desk from "./desk.js";
import { say } from "./words.js";

const LINKABLE = ["created", "capturing", "ready", "declined", "needs_action", "linked"];

const $ = (id) => document.getElementById(id);
const show = (id, on) => { $(id).hidden = !on; };

export class PayLink {
  // on: { run(work), twice(button, work), refuse(id, label), keep(payment), shown(), face(element, text) } of the page
  constructor(on) {
    this.on = on;
    this.channels = [];
    $("paylink").addEventListener("submit", (event) => { event.preventDefault(); this.send(); });
    $("paylink-to").addEventListener("input", (event) => event.target.removeAttribute("aria-invalid"));
    $("paylink-withdraw").addEventListener("click", () => on.twice($("paylink-withdraw"), () => this.withdraw()));
  }

  // What this tenant can send by, once the language is known.
  learn(channels) {
    this.channels = channels;
    $("paylink-channel").replaceChildren(...channels.map((one) => new Option(say(`ui_link_${one}`), one)));
    $("paylink-to").value = "";
  }

  render(payment, live) {
    const linked = payment?.state === "linked";
    const sendable = Boolean(payment) && live && this.channels.length > 0 && payment.amount_minor > 0 && LINKABLE.includes(payment.state);
    show("paylink", sendable || linked);
    show("paylink-fields", sendable);
    show("paylink-send", sendable);
    show("paylink-withdraw", linked);
    $("paylink-withdraw").disabled = linked && payment.link === "closing";
    const text = payment?.link ? say("ui_link_state", { state: payment.link_text }) : "";
    show("paylink-state", text !== "");
    if ($("paylink-state").textContent !== text) $("paylink-state").textContent = text;
    const label = linked ? "ui_link_again" : "ui_link_send";
    if ($("paylink-send").dataset.label !== label) {
      $("paylink-send").dataset.label = label;
      this.on.face($("paylink-send"), say(label));
    }
  }

  send() {
    const to = $("paylink-to").value.trim();
    if (!to) return this.on.refuse("paylink-to", "problem_address_malformed");
    const body = { channel: $("paylink-channel").value, to };
    return this.on.run(async () => {
      this.on.keep(await desk.sendLink(this.on.shown().payment_id, body));
      $("paylink-to").value = "";
    });
  }

  withdraw() {
    this.on.run(async () => this.on.keep(await desk.withdrawLink(this.on.shown().payment_id)));
  }
}
