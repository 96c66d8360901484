// The live stream: reconnects by itself, goes on after the last number it has seen, or starts from a snapshot.

const WAIT_MS_FIRST = 300;
const WAIT_MS_MAX = 8000;
const TOO_OLD = 4409; // what was missed is gone: take the snapshot
const LOGIN_ENDED = 4401;

export class Stream {
  // on: { message(object), live(boolean), maybeLoggedOut() }
  constructor(on) {
    this.on = on;
    this.run = null;
    this.last = null;
    this.waitMs = WAIT_MS_FIRST;
    this.stopped = true;
  }

  start() {
    this.stopped = false;
    this.run = this.last = null;
    this.connect();
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    if (this.socket) this.socket.close();
  }

  connect() {
    const query = this.last === null ? "" : `?run=${this.run}&last=${this.last}`;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/v1/stream${query}`);
    this.socket = socket;
    socket.onmessage = (message) => this.took(JSON.parse(message.data));
    socket.onclose = (end) => this.closed(socket, end.code);
  }

  took(message) {
    this.waitMs = WAIT_MS_FIRST;
    if (message.type === "snapshot") this.run = message.run;
    else if (message.seq !== this.last + 1) return this.startAgain();
    this.last = message.seq;
    this.on.live(true);
    this.on.message(message);
  }

  startAgain() {
    this.last = null;
    this.socket.close();
  }

  closed(socket, code) {
    if (this.stopped || socket !== this.socket) return;
    this.on.live(false);
    if (code === TOO_OLD) this.last = null;
    if (code === LOGIN_ENDED || code === 1006) this.on.maybeLoggedOut();
    this.timer = setTimeout(() => this.stopped || this.connect(), this.waitMs * (0.5 + Math.random()));
    this.waitMs = Math.min(this.waitMs * 2, WAIT_MS_MAX);
  }
}
