// The desk's HTTP interface: one function per request; a refusal is a Problem with a code and a next step.

const REQUEST_TIMEOUT_MS = 15000; // a capture waits for SECURE, a charge for the bank's first answer
const PIN_TIMEOUT_MS = 300000; // a PIN entry is answered when it is over: a slow caller, twice

export class Problem extends Error {
  constructor(body) {
    super(body.title);
    this.code = body.code;
    this.detail = body.detail || body.title;
    this.nextStep = body.next_step;
    this.retryable = Boolean(body.retryable);
  }
}

const UNREACHED = { code: "desk_unreached", title: "The desk does not answer.", next_step: "Check the connection.", retryable: true };

async function ask(method, path, body, headers = {}, timeoutMs = REQUEST_TIMEOUT_MS) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(timeoutMs),
      redirect: "error",
    });
  } catch {
    throw new Problem(UNREACHED);
  }
  const json = await answer.json().catch(() => UNREACHED);
  if (!answer.ok) throw new Problem(json);
  return json;
}

const part = encodeURIComponent;

export const me = () => ask("GET", "/v1/me");
export const logIn = (body) => ask("POST", "/v1/login", body);
export const logOut = () => ask("POST", "/v1/logout", {});
export const labels = (language) => ask("GET", `/v1/labels/${part(language)}`);
export const openLabels = (language) => ask("GET", `/console/labels/${part(language)}.json`);
export const hangUp = (callId) => ask("POST", `/v1/calls/${part(callId)}/hang-up`, {});
export const createPayment = (callId, body, key) =>
  ask("POST", `/v1/calls/${part(callId)}/payments`, body, { "Idempotency-Key": key });
export const steer = (paymentId, action, body = {}) =>
  ask("POST", `/v1/payments/${part(paymentId)}/${action}`, body);
export const createCheck = (callId, body, key) =>
  ask("POST", `/v1/calls/${part(callId)}/card-checks`, body, { "Idempotency-Key": key });
export const sendLink = (paymentId, body) => ask("POST", `/v1/payments/${part(paymentId)}/link`, body);
export const withdrawLink = (paymentId) => ask("DELETE", `/v1/payments/${part(paymentId)}/link`, {});
export const history = (paymentId) => ask("GET", `/v1/payments/${part(paymentId)}/history`);
export const search = (wanted) => ask("POST", "/v1/payments/search", wanted);
export const takeStep = (paymentId, step, body, key) =>
  ask("POST", `/v1/payments/${part(paymentId)}/${step}`, body, { "Idempotency-Key": key });
export const orderReceipt = (paymentId, body) => ask("POST", `/v1/payments/${part(paymentId)}/receipt`, body);
export const cards = (customer) => ask("POST", "/v1/cards/search", { customer });
export const forgetCard = (customer, cardId) => ask("POST", `/v1/cards/${part(cardId)}/forget`, { customer });
export const member = (memberId) => ask("GET", `/v1/members/${part(memberId)}`);
export const balance = (memberId) => ask("GET", `/v1/members/${part(memberId)}/balance`);
export const lockCard = (memberId) => ask("POST", `/v1/members/${part(memberId)}/card/lock`, { reason: "asked" });
export const keyPin = (callId, memberId) =>
  ask("POST", `/v1/calls/${part(callId)}/pin`, { member_id: memberId, purpose: "verify" }, {}, PIN_TIMEOUT_MS);
