/* The result of a round until the shop has it: kept in this tab, also over a reload, and sent again on request. */
const KEPT = "stack-result";

export class Results {
  constructor(post) {
    this.post = post;
    this.pending = read();
  }

  keep(session, moves, score) {
    this.pending = { session, moves, score };
    try { sessionStorage.setItem(KEPT, JSON.stringify(this.pending)); } catch { /* Storage is turned off. */ }
  }

  forget() {
    this.pending = null;
    try { sessionStorage.removeItem(KEPT); } catch { /* Storage is turned off. */ }
  }

  /* Posts the pending result. One that can never be saved is forgotten, any other one is kept when this fails. */
  async send() {
    const sent = this.pending;
    try {
      const answer = await this.post(sent.session, sent.moves);
      if (this.pending === sent) this.forget();
      return answer;
    } catch (error) {
      if (this.pending === sent && isFinal(error)) this.forget();
      throw error;
    }
  }
}

/* Whether the shop has refused it for good. */
export function isFinal(error) { return Boolean(error?.code) && error.retryable === false; }

function read() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT));
    return kept?.session?.id && Array.isArray(kept.moves) ? kept : null;
  } catch {
    return null;
  }
}
