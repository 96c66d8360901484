// The member's page: logs in, shows the account, redeems, locks the card, changes the PIN.
//
// A PIN is sealed here for a cell of the vault (RSA-OAEP, SHA-256) over a challenge that is good once; the
// server in between sees bytes. Fields with a PIN are emptied as soon as they are read. Text goes into the
// page by textContent alone.

const { language, tenant, words } = JSON.parse(document.getElementById("data").textContent);
const ASCII_ZERO = 48;
const KEY_LETTERS = 24;
const PIN_MIN = 4;
const at = (id) => document.getElementById(id);
const numbers = new Intl.NumberFormat(language);
const days = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone: "UTC" });

const word = (key, values = {}) =>
  (words[key] ?? words.not_possible).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
const day = (text) => days.format(new Date(`${text}T00:00:00Z`));

function tell(text, bad = false) {
  const notice = at("notice");
  notice.textContent = text;
  notice.classList.toggle("bad", bad);
  notice.focus();
}

function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

// --- asking ---------------------------------------------------------------------------------------------

async function ask(name, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  try {
    const answer = await fetch(`/m/${tenant}/${name}?lang=${language}`, options);
    const told = await answer.json();
    return typeof told.code === "string" || answer.ok ? told : { code: "not_possible" };
  } catch {
    return { code: "busy" };
  }
}

const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
const base64 = (octets) => btoa(String.fromCharCode(...new Uint8Array(octets)));

async function sealed(fields) {
  const inputs = fields.map(at);
  const entries = inputs.map((input) => input.value.replace(/\s/g, ""));
  inputs.forEach((input) => { input.value = ""; });
  const wrong = entries.findIndex((entry) => !/^\d+$/.test(entry) || entry.length < PIN_MIN);
  if (wrong >= 0) {
    tell(word("pin_too_short"), true);
    inputs[wrong].focus();
    return null;
  }
  const seal = await ask("seal", {});
  if (seal.public_key === undefined) {
    tell(word(seal.code), true);
    return null;
  }
  const algorithm = { name: "RSA-OAEP", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("spki", bytes(seal.public_key), algorithm, false, ["encrypt"]);
  const digits = entries.flatMap((entry) => [entry.length, ...entry].map((one, place) =>
    place === 0 ? one : ASCII_ZERO + Number(one)));
  const plain = Uint8Array.from([...bytes(seal.challenge), ...digits]);
  const blob = await crypto.subtle.encrypt(algorithm, key, plain);
  plain.fill(0);
  return { key_id: seal.key_id, challenge: seal.challenge, sealed: base64(blob) };
}

// --- before the login -----------------------------------------------------------------------------------

function claim() {
  if (at("login-form").elements.by.value === "number") {
    return { number: at("number").value.replace(/\D/g, "") };
  }
  return {
    postcode: at("postcode").value.trim(),
    born: at("born").value,
    house_number: at("house_number").value.trim(),
  };
}

function claimMissing() {
  const said = claim();
  const empty = "number" in said
    ? (said.number.length < 4 ? "number" : "")
    : (said.postcode.length < 3 ? "postcode" : said.born === "" ? "born" : "");
  if (empty) {
    tell(word("claim_missing"), true);
    at(empty).focus();
  }
  return empty !== "";
}

function showClaim() {
  const by = at("login-form").elements.by.value;
  document.querySelectorAll("[data-by]").forEach((part) => { part.hidden = part.dataset.by !== by; });
}

function heard(told) {
  if (told.code === "ask_house_number") {
    at("house").hidden = false;
    at("house_number").focus();
  }
  tell(word(told.code), told.code !== "code_on_its_way" && told.code !== "pin_changed");
}

async function logIn(event) {
  event.preventDefault();
  if (claimMissing()) return;
  const said = claim();
  const pin = await sealed(["pin"]);
  if (pin === null) return;
  const told = await ask("login", { ...said, ...pin });
  if (told.code === "ok") await showAccount(word("welcome"));
  else heard(told);
}

function showReset(on) {
  at("reset-form").hidden = !on;
  at("pin").closest("form").querySelectorAll("#pin, [for=pin], .main, #forgot").forEach((part) => { part.hidden = on; });
  if (on) at("send-code").focus();
}

async function sendCode() {
  if (!claimMissing()) heard(await ask("reset-code", claim()));
}

async function reset(event) {
  event.preventDefault();
  if (claimMissing()) return;
  const said = claim();
  const pins = await sealed(["code", "reset-new", "reset-again"]);
  if (pins === null) return;
  const told = await ask("reset", { ...said, ...pins });
  if (told.code === "pin_changed") showReset(false);
  heard(told);
}

// --- after the login ------------------------------------------------------------------------------------

async function showAccount(text = "") {
  const told = await ask("account");
  const here = told.code === "ok";
  at("login").hidden = here;
  at("account").hidden = !here;
  if (!here) {
    if (told.code !== "login_needed" || text) tell(word(told.code), true);
    return;
  }
  showBalance(told);
  showRewards(told.rewards, told.card.locked);
  showMovements(told.movements);
  showRedemptions(told.redemptions);
  const card = told.card.locked ? "card_is_locked" : "card_is_active";
  at("card").textContent = word(card, { last4: told.card.last4 });
  at("lock-card").hidden = told.card.locked;
  if (text) tell(text);
}

function showBalance(told) {
  at("points").textContent = numbers.format(told.available);
  at("expiring").textContent = told.expires === null ? "" :
    word("expiring", { points: numbers.format(told.expiring), date: day(told.expires) });
}

function showRewards(rewards, locked) {
  at("no-rewards").hidden = rewards.length > 0;
  at("rewards").replaceChildren(...rewards.map((reward) => {
    const item = make("li");
    const price = word("price", { points: numbers.format(reward.points) });
    const button = make("button", word(reward.kind === "donation" ? "donate" : "redeem"));
    button.type = "button";
    button.disabled = locked || !reward.possible;
    button.setAttribute("aria-label", `${button.textContent}: ${reward.name}, ${price}`);
    button.addEventListener("click", () => redeem(reward, price));
    item.append(make("strong", reward.name), make("span", price), button);
    return item;
  }));
}

function showMovements(movements) {
  at("movements").hidden = movements.length === 0;
  at("no-movements").hidden = movements.length > 0;
  at("movements").querySelector("tbody").replaceChildren(...movements.map((one) => {
    const row = make("tr");
    const points = `${one.points > 0 ? "+" : ""}${numbers.format(one.points)}`;
    row.append(make("td", day(one.at)), make("td", words[`movement_${one.kind}`] ?? word("movement_other")),
      make("td", points, "number"));
    return row;
  }));
}

function showRedemptions(redemptions) {
  at("no-redemptions").hidden = redemptions.length > 0;
  at("redemptions").replaceChildren(...redemptions.map((one) => {
    const item = make("li");
    const text = word("redemption", { date: day(one.at), points: numbers.format(one.points), receipt: one.receipt });
    item.append(make("strong", one.name), make("span", text));
    if (one.state !== "done") item.append(make("span", words[`redemption_${one.state}`] ?? ""));
    return item;
  }));
}

function confirmed(title, text) {
  const dialog = at("confirm");
  at("confirm-title").textContent = title;
  at("confirm-text").textContent = text;
  return new Promise((resolve) => {
    const end = (answer) => () => { dialog.close(); resolve(answer); };
    at("confirm-yes").onclick = end(true);
    at("confirm-no").onclick = end(false);
    dialog.oncancel = () => resolve(false);
    dialog.showModal();
    at("confirm-no").focus();
  });
}

function freshKey() {
  const octets = crypto.getRandomValues(new Uint8Array(KEY_LETTERS));
  return Array.from(octets, (octet) => (octet % 36).toString(36)).join("");
}

// A wish keeps its key until a definite answer has come, over a reload, too: whatever was lost on the way, the
// next press asks for the same voucher.
async function ordered(rewardId) {
  const place = `redeem:${tenant}:${rewardId}`;
  const key = sessionStorage.getItem(place) ?? freshKey();
  sessionStorage.setItem(place, key);
  let told = await ask("redeem", { reward_id: rewardId, key });
  if (told.code === "busy") told = await ask("redeem", { reward_id: rewardId, key });
  if (told.code === "ok" || told.code.startsWith("redeem_")) sessionStorage.removeItem(place);
  return told;
}

async function redeem(reward, price) {
  if (!await confirmed(reward.name, word("redeem_confirm", { price }))) return;
  const told = await ordered(reward.id);
  if (told.code !== "ok") return void tell(word(told.code), true);
  const values = { receipt: told.receipt, voucher: told.voucher ?? "", points: numbers.format(told.points) };
  const text = word(told.kind === "donation" ? "donated" : "redeemed", values);
  await showAccount(told.sent_by ? `${text} ${word(`sent_by_${told.sent_by}`)}` : text);
}

async function lockCard() {
  if (!await confirmed(word("lock_card"), word("lock_confirm"))) return;
  const told = await ask("card-lock", {});
  await showAccount(word(told.code));
}

async function changePin(event) {
  event.preventDefault();
  const pins = await sealed(["pin-old", "pin-new", "pin-again"]);
  if (pins === null) return;
  const told = await ask("pin", pins);
  if (told.code === "pin_changed") await leave(word("pin_changed"));
  else tell(word(told.code), true);
}

async function leave(text) {
  await ask("logout", {});
  at("account").hidden = true;
  at("login").hidden = false;
  tell(text);
}

at("login-form").addEventListener("submit", logIn);
at("login-form").addEventListener("change", showClaim);
at("forgot").addEventListener("click", () => showReset(true));
at("back").addEventListener("click", () => showReset(false));
at("send-code").addEventListener("click", sendCode);
at("reset-form").addEventListener("submit", reset);
at("lock-card").addEventListener("click", lockCard);
at("pin-form").addEventListener("submit", changePin);
at("logout").addEventListener("click", () => leave(word("logged_out")));
await showAccount();
