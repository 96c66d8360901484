// The console: one page for one job, a payment on a live call. Its state comes from the stream; every button is
// one request. Only DOM calls: the page's policy forbids HTML from strings.

import { Cards } from "./cards.js";
import * as desk from "./desk.js";
import { drawFields, make } from "./fields.js";
import { Later } from "./later.js";
import { Member } from "./member.js";
import { PayLink } from "./paylink.js";
import { Stream } from "./stream.js";
import { clock, has, languageName, minorUnits, money, plain, say, speak } from "./words.js";

const FINAL = ["authorised", "declined", "unknown", "needs_action", "cancelled", "expired", "settled", "voided", "refunded", "checked"];
const MARKS = { authorised: "✓", settled: "✓", checked: "✓", declined: "✕", unknown: "?", needs_action: "↗" };
const TICK_MS = 250;

const state = {
  me: null,
  calls: new Map(),
  payments: new Map(),
  shownCall: null, // the call on the screen; stays after its end until the next one comes
  dismissed: null, // the payment that `new payment` has put away
  live: false,
  busy: false, // a request is under way: a second press does nothing
  talkUntil: 0,
  warnUntil: 0,
  help: false,
  armed: null, // the button that waits for its second press
  sure: "", // what it says meanwhile
  said: "",
};

const $ = (id) => document.getElementById(id);
const show = (id, on) => { $(id).hidden = !on; };
const tell = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };

// ---------------------------------------------------------------- words

async function learn(tag, fetchLabels) {
  const got = await fetchLabels(tag);
  speak(tag, got.labels || got);
  for (const element of document.querySelectorAll("[data-label]")) face(element, say(element.dataset.label));
}

function face(element, text) {
  element.replaceChildren(make("span", "", text));
  if (!element.dataset.key) return;
  element.setAttribute("aria-label", text);
  element.append(make("kbd", "", `Alt+${element.dataset.key}`));
  element.setAttribute("aria-keyshortcuts", `Alt+${element.dataset.key}`);
}

async function learnBeforeLogin() {
  const offered = ["de-DE", "en-US", "es-ES", "fr-FR"];
  const wanted = navigator.languages.map((tag) => offered.find((one) => one.slice(0, 2) === tag.slice(0, 2)));
  await learn(wanted.find(Boolean) || "en-US", desk.openLabels);
}

function complain(problem) {
  const known = `problem_${problem.code}`;
  tell("alert-text", has(known) ? say(known) : `${problem.detail || problem.message} ${problem.nextStep || ""}`);
  show("alert", true);
}

// ---------------------------------------------------------------- what the stream tells

function took(message) {
  if (message.type === "snapshot") tookSnapshot(message);
  else if (message.type === "call") tookCall(message.call);
  else tookPayment(message);
  chooseCall();
  render();
}

// A call that the snapshot does not know is over; with its payments it stays on the screen.
function tookSnapshot({ calls, payments }) {
  const shown = state.calls.get(state.shownCall);
  const old = [...state.payments.values()].filter((one) => one.call_id === state.shownCall);
  state.calls = new Map(calls.map((call) => [call.call_id, call]));
  state.payments = new Map([...old, ...payments].map((payment) => [payment.payment_id, payment]));
  if (shown && !state.calls.has(shown.call_id)) {
    state.calls.set(shown.call_id, { ...shown, state: "ended", ended_reason: shown.ended_reason || "unknown" });
  }
}

function tookCall(call) {
  if (call.mine || call.call_id === state.shownCall) state.calls.set(call.call_id, call);
  if (!call.mine) state.calls.delete(call.call_id);
}

function tookPayment({ why, seconds_left, payment }) {
  state.payments.set(payment.payment_id, payment);
  const until = Date.now() + 1000 * (seconds_left || 0);
  if (why === "talk_started") state.talkUntil = until;
  if (why === "talk_ended") state.talkUntil = 0;
  if (why === "time_warning") state.warnUntil = until;
  if (why === "key" || FINAL.includes(payment.state)) state.warnUntil = 0;
  if (why === "help_asked") state.help = true;
  if (!payment.talking) state.help = false;
  later.noticed(payment);
}

// The newest live call; an ended one stays on the screen only until a live one comes.
function chooseCall() {
  const live = [...state.calls.values()].filter((call) => !call.ended_reason);
  const shown = state.calls.get(state.shownCall);
  if (shown && (!shown.ended_reason || live.length === 0)) return;
  const next = live.length > 0 ? live[live.length - 1] : [...state.calls.values()].pop();
  state.shownCall = next ? next.call_id : null;
  if (live.length === 0) {
    if (!shown && state.calls.size) state.shownCall = [...state.calls.keys()].pop(); // lost in a restart
    return;
  }
  for (const [id, call] of state.calls) if (call.ended_reason) state.calls.delete(id);
  disarm(); // the first press meant the call before
  state.dismissed = null;
  clearForm();
}

function shownPayment() {
  const own = [...state.payments.values()].filter((one) => one.call_id === state.shownCall);
  const newest = own.sort((a, b) => (a.created_at < b.created_at ? 1 : -1))[0];
  return newest && newest.payment_id !== state.dismissed ? newest : null;
}

// ---------------------------------------------------------------- drawing

function render() {
  const call = state.calls.get(state.shownCall) || null;
  const payment = call && shownPayment();
  renderCall(call, payment);
  member.render(call);
  renderPayment(call, payment);
  renderTimes();
  announce(call, payment);
}

function renderCall(call, payment) {
  const live = Boolean(call && !call.ended_reason);
  show("call-none", !call);
  show("call-live", Boolean(call));
  document.body.dataset.view = !call ? "idle" : !payment ? "talking" : FINAL.includes(payment.state) ? "result" : "capturing";
  if (!call) return;
  tell("caller", call.caller === "anonymous" ? say("ui_anonymous") : call.caller);
  tell("call-language", languageName(call.language));
  tell("did", call.did);
  tell("call-state", say(`ui_call_${call.state}`));
  const secure = Boolean(payment && payment.secure && live);
  $("lamp").dataset.on = String(call.speaking && live);
  tell("lamp-text", say(call.speaking && live ? "ui_speaking" : "ui_silent"));
  show("lamp", live && !call.audio_lost);
  $("hearing").dataset.secure = String(secure);
  tell("hearing-text", say(secure ? "ui_secure" : payment?.capture_live && payment.talking ? "ui_talking" : "ui_open"));
  show("hearing", live && call.state === "bridged" && (secure || !call.audio_lost));
  show("audio-lost", live && call.audio_lost);
  show("alarm", live && call.keying_outside_capture && !payment?.capture_live);
  show("hang-up", live);
}

function renderPayment(call, payment) {
  const live = Boolean(call && call.state === "bridged");
  show("pay-none", !live && !payment);
  show("pay-form", live && !payment);
  show("pay-live", Boolean(payment));
  if (!payment) return;
  const at = payment.state;
  tell("sum-amount", money(payment.amount_minor, payment.currency));
  tell("sum-what", `${payment.reference} · ${purposeName(payment.purpose)}`);
  tell("pay-state", payment.state_text);
  show("pay-state", ["created", "capturing", "ready", "linked"].includes(at));
  drawFields($("fields"), payment, live, (field) => act("rekey", { field }));
  renderResult(payment);
  const charge = live && ["ready", "capturing"].includes(at);
  show("capture", live && at === "created");
  show("charge", charge);
  $("charge").disabled = at !== "ready" || !state.live;
  face($("charge"), say(chargeLabel(payment), { amount: money(payment.amount_minor, payment.currency) }));
  show("retry", live && at === "declined" && payment.decline.retry_allowed && payment.attempts_left > 0);
  show("details", FINAL.includes(at) && payment.attempt > 0);
  show("new-payment", live && FINAL.includes(at));
  show("talk", live && payment.capture_live && at === "capturing");
  show("cancel", ["created", "capturing", "ready"].includes(at));
  paylink.render(payment, live);
}

const chargeLabel = (payment) => (payment.amount_minor === 0 ? "ui_check" : payment.settle_later ? "ui_hold" : "ui_charge");

const purposeName = (purpose) => (has(`ui_purpose_${purpose}`) ? say(`ui_purpose_${purpose}`) : purpose.replace(/_/g, " "));

function renderResult(payment) {
  const at = payment.state;
  show("result", FINAL.includes(at) || at === "authorising");
  $("result").dataset.state = at;
  tell("result-mark", MARKS[at] || (at === "authorising" ? "…" : "–"));
  tell("result-text", payment.state_text);
  tell("result-reason", reasonText(payment));
  const decline = at === "declined" ? payment.decline : null;
  show("say", Boolean(decline));
  tell("say-text", decline ? decline.say_text : "");
  $("say-text").lang = state.calls.get(payment.call_id)?.language || "";
  tell("result-next", nextText(payment));
}

function reasonText(payment) {
  if (payment.state === "declined") return payment.decline.reason_text;
  if (payment.state === "authorised" || payment.state === "settled") return payment.receipt ? say("ui_receipt", { receipt: payment.receipt }) : "";
  return has(`ui_about_${payment.state}`) ? say(`ui_about_${payment.state}`) : "";
}

function nextText(payment) {
  if (payment.state !== "declined") return has(`ui_next_${payment.state}`) ? say(`ui_next_${payment.state}`) : "";
  if (!payment.decline.retry_allowed || payment.attempts_left === 0) return say("ui_next_no_retry");
  return `${payment.decline.next_step_text}. ${say("ui_attempts_left", { count: payment.attempts_left })}`;
}

// What changes with the clock; not announced, so that a screen reader is not interrupted every second.
function renderTimes() {
  const call = state.calls.get(state.shownCall);
  if (call && !call.ended_reason) tell("timer", clock((Date.now() - Date.parse(call.started_at)) / 1000));
  const payment = call && shownPayment();
  if (!payment) return;
  const talkLeft = Math.ceil((state.talkUntil - Date.now()) / 1000);
  const on = payment.talking;
  const text = on ? say("ui_talk_stop") : say("ui_talk");
  const seconds = on && talkLeft > 0 ? ` (${talkLeft} s)` : "";
  if ($("talk").firstChild?.textContent !== text + seconds) face($("talk"), text + seconds);
  const warnLeft = Math.ceil((state.warnUntil - Date.now()) / 1000);
  const notice = !["capturing", "ready"].includes(payment.state) ? ""
    : call.state === "agent_lost" ? say("ui_agent_lost") : state.help ? say("ui_help")
    : on ? say("ui_talk_on") : warnLeft > 0 ? say("ui_warning", { seconds: warnLeft }) : "";
  show("notice", notice !== "");
  tell("notice", notice);
}

// One polite sentence per state, for screen readers.
function announce(call, payment) {
  const open = payment?.fields.find((field) => field.state === "open");
  const parts = !call ? [say("ui_no_call")] : !payment ? [say("ui_call"), call.caller]
    : [payment.state_text, payment.state === "capturing" && open ? say(`desk_field_${open.field}`) : "",
       payment.state === "capturing" && open?.problem_text ? open.problem_text : "",
       FINAL.includes(payment.state) ? reasonText(payment) : ""];
  const text = parts.filter(Boolean).join(". ");
  if (text !== state.said) tell("status", (state.said = text));
}

// ---------------------------------------------------------------- doing

async function run(work) {
  if (state.busy) return;
  state.busy = true;
  document.body.dataset.busy = "true";
  show("alert", false);
  disarm();
  try {
    await work();
  } catch (problem) {
    if (problem.code === "login_needed") await showLogin();
    else complain(problem);
  } finally {
    state.busy = false;
    document.body.dataset.busy = "false";
    render();
  }
}

// A snapshot in an answer is older than what the stream has told meanwhile, unless its version is higher.
function keep(payment) {
  const known = state.payments.get(payment.payment_id);
  if (!known || known.version <= payment.version) state.payments.set(payment.payment_id, payment);
}

function act(action, body) {
  const payment = shownPayment();
  if (payment) run(async () => keep(await desk.steer(payment.payment_id, action, body)));
}

let formKey = null; // the same key while the form is unchanged, so that a second press is the same payment

// With `cardId` a kept card pays: nothing is keyed, the payment is ready at once.
function startPayment(cardId) {
  const currency = $("currency").value;
  const check = $("kind").value === "check" && !cardId;
  const amount = minorUnits($("amount").value, currency);
  if (!check && !amount) return refuse("amount", "ui_amount_wrong");
  if (!/^[A-Za-z0-9][A-Za-z0-9 ._/#-]*$/.test($("reference").value.trim())) return refuse("reference", "ui_reference_wrong");
  const body = { currency, reference: $("reference").value.trim(), purpose: $("purpose").value };
  for (const id of ["customer", "mandate"]) if ($(id).value.trim()) body[id] = $(id).value.trim();
  if (!check) Object.assign(body, { amount_minor: amount, settle_later: $("kind").value === "hold" });
  if (cardId) {
    body.card_id = cardId;
    delete body.mandate;
  }
  formKey = formKey || crypto.randomUUID();
  run(async () => {
    const payment = await (check ? desk.createCheck : desk.createPayment)(state.shownCall, body, formKey);
    formKey = null;
    keep(payment);
    if (!cardId) keep(await desk.steer(payment.payment_id, "capture"));
  });
}

function refuse(id, label) {
  tell("alert-text", say(label));
  show("alert", true);
  $(id).setAttribute("aria-invalid", "true");
  $(id).focus();
}

function newPayment() {
  const payment = shownPayment();
  if (!payment) return;
  state.dismissed = payment.payment_id;
  if (payment.state === "declined") fillForm(payment);
  else clearForm();
  render();
  $("amount").focus();
}

function clearForm() {
  formKey = null;
  for (const id of ["amount", "reference", "customer", "mandate"]) $(id).value = "";
  $("kind").value = "sale";
  cards.clear();
}

function fillForm(payment) {
  formKey = null;
  $("amount").value = plain(payment.amount_minor, payment.currency);
  $("reference").value = payment.reference;
  $("currency").value = payment.currency;
  $("purpose").value = payment.purpose;
}

// Cancel and hang-up want a second press of the same button; Escape or leaving it takes the first one back.
// The second press does what the button said after the first; what has changed in between is asked anew.
function twice(button, work) {
  const sure = button.dataset.sureText || say(button.dataset.sure);
  const again = state.armed === button && state.sure === sure;
  disarm();
  if (again) {
    work();
    return;
  }
  state.armed = button;
  state.sure = sure;
  button.dataset.armed = "true";
  face(button, sure);
  button.focus();
}

function disarm() {
  if (!state.armed) return;
  state.armed.dataset.armed = "false";
  face(state.armed, say(state.armed.dataset.label));
  state.armed = null;
}

const later = new Later({ run, twice, refuse });
const paylink = new PayLink({ run, twice, refuse, keep, face, shown: shownPayment });
const member = new Member({ run, twice, disarm });
const cards = new Cards({ run, twice, disarm, refuse, pay: startPayment });

// ---------------------------------------------------------------- logging in and out

const stream = new Stream({
  message: took,
  live: (on) => {
    state.live = on;
    $("link").dataset.live = String(on);
    tell("link-text", say(on ? "ui_live" : "ui_reconnecting"));
    if (!on) render();
  },
  maybeLoggedOut: () => desk.me().catch((problem) => problem.code === "login_needed" && showLogin()),
});

async function showLogin() {
  stream.stop();
  state.me = null;
  state.calls.clear();
  state.payments.clear();
  state.shownCall = null;
  later.forget();
  await learnBeforeLogin();
  for (const id of ["desk-view", "keys", "link", "log-out", "new-password-part"]) show(id, false);
  show("login-view", true);
  tell("agent", "");
  tell("tenant", "pay-ivr");
  document.body.dataset.view = "login";
  $("password").value = $("new-password").value = "";
  $("user").focus();
}

async function showDesk(me) {
  state.me = me;
  await learn(me.language, desk.labels);
  tell("tenant", me.tenant_name || me.tenant);
  tell("agent", me.agent_id);
  $("currency").replaceChildren(...me.currencies.map((one) => new Option(one, one)));
  $("purpose").replaceChildren(...me.purposes.map((one) => new Option(purposeName(one), one)));
  $("kind").replaceChildren(...["sale", "hold", "check"].map((one) => new Option(say(`ui_kind_${one}`), one)));
  later.learn(me.media);
  paylink.learn(me.channels);
  show("login-view", false);
  for (const id of ["desk-view", "keys", "link", "log-out"]) show(id, true);
  tell("link-text", say("ui_reconnecting"));
  render();
  stream.start();
}

function logIn() {
  const body = { user: $("user").value.trim(), password: $("password").value };
  if ($("new-password").value) body.new_password = $("new-password").value;
  return run(async () => {
    try {
      await showDesk(await desk.logIn(body));
    } catch (problem) {
      if (problem.code !== "password_change_needed") throw problem;
      show("new-password-part", true);
      $("new-password").required = true;
      $("new-password").focus();
    }
  });
}

// ---------------------------------------------------------------- buttons and keys

const form = (id, work) => $(id).addEventListener("submit", (event) => { event.preventDefault(); work(); });
const press = (id, work) => $(id).addEventListener("click", work);

form("login-form", logIn);
form("pay-form", () => startPayment());
$("pay-form").addEventListener("input", (event) => { formKey = null; event.target.removeAttribute("aria-invalid"); });
press("log-out", () => run(async () => { await desk.logOut(); await showLogin(); }));
press("alert-close", () => show("alert", false));
press("capture", () => act("capture"));
press("charge", () => act("charge"));
press("retry", () => act("retry"));
press("talk", () => act("talk", { on: !shownPayment()?.talking }));
press("new-payment", newPayment);
press("details", () => run(() => later.open(shownPayment().payment_id)));
press("cancel", () => twice($("cancel"), () => act("cancel")));
press("hang-up", () => twice($("hang-up"), () => run(() => desk.hangUp(state.shownCall))));
for (const id of ["cancel", "hang-up", "settle", "void", "refund", "paylink-withdraw"]) $(id).addEventListener("blur", disarm);

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { disarm(); show("alert", false); }
  if (!event.altKey || event.ctrlKey || event.metaKey || event.repeat || !event.code.startsWith("Key")) return;
  const wanted = `button[data-key="${event.code.slice(3)}"]`;
  const button = [...document.querySelectorAll(wanted)].find((one) => one.offsetParent !== null);
  if (!button) return;
  event.preventDefault();
  if (!button.disabled) button.click();
});

setInterval(renderTimes, TICK_MS);
desk.me().then(showDesk, showLogin);
