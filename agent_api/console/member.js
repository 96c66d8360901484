// Who is on the line, as the self-service knows him: name, points, card, and what he has tried so far.
//
// A PIN is keyed by the caller into a cell; this page asks for it and hears only how it ended.

import * as desk from "./desk.js";
import { languageTag, say } from "./words.js";

const $ = (id) => document.getElementById(id);
const list = (words) => words.split(",").filter(Boolean).map((one) => say(`ui_topic_${one}`)).join(", ");

export class Member {
  // on: { run(work), twice(button, work), disarm() } of the page
  constructor(on) {
    this.on = on;
    this.shown = "";
    this.call = null;
    $("member-pin").addEventListener("click", () => this.on.run(() => this.askPin()));
    $("member-lock").addEventListener("click", () => this.on.twice($("member-lock"), () => this.on.run(() => this.lock())));
    $("member-lock").addEventListener("blur", this.on.disarm);
  }

  render(call) {
    const known = call?.context ?? {};
    this.call = call;
    $("member").hidden = !known.topic && !known.member;
    if ($("member").hidden) return;
    $("member-topic").textContent = known.topic ? say(`ui_topic_${known.topic}`) : "";
    $("member-tried").textContent = list(known.tried ?? "");
    $("member-tried-row").hidden = !known.tried;
    const live = call.state === "bridged";
    $("member-pin").hidden = $("member-lock").hidden = !known.member || !live;
    if (this.shown === `${call.call_id} ${known.member}`) return;
    this.shown = `${call.call_id} ${known.member}`;
    $("member-name").textContent = say(known.member ? "ui_loading" : "ui_not_logged_in");
    $("member-points").textContent = $("member-said").textContent = "";
    if (known.member) this.on.run(() => this.load(known.member));
  }

  async load(memberId) {
    const [person, balance] = await Promise.all([desk.member(memberId), desk.balance(memberId)]);
    $("member-name").textContent = `${person.given_name} ${person.family_name} (${person.number})`;
    const points = new Intl.NumberFormat(languageTag()).format(balance.available);
    $("member-points").textContent = say("ui_points", { points });
    if (person.member.card_state !== "active") this.tell(say("ui_card_locked"));
  }

  async lock() {
    await desk.lockCard(this.call.context.member);
    this.tell(say("ui_card_locked"));
  }

  async askPin() {
    this.tell(say("ui_pin_asked"));
    const { result } = await desk.keyPin(this.call.call_id, this.call.context.member);
    this.tell(say(`ui_pin_${result}`));
  }

  tell(text) {
    $("member-said").textContent = text;
  }
}
