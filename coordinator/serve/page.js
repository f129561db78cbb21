'use strict';
/* The chat page. Text of models and users becomes text nodes only: nothing is ever parsed as HTML. */

const $ = id => document.getElementById(id);
const make = (tag, className, ...children) => {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...children);
  return e;
};
const button = (label, act) => {
  const b = make('button', '', label);
  b.type = 'button';
  b.addEventListener('click', act);
  return b;
};
const clock = s => !isFinite(s) ? '?' : s < 60 ? s.toFixed(s < 10 ? 1 : 0) + ' s'
  : s < 3600 ? Math.floor(s / 60) + ':' + String(Math.floor(s % 60)).padStart(2, '0') + ' min'
  : Math.floor(s / 3600) + ':' + String(Math.floor(s % 3600 / 60)).padStart(2, '0') + ' h';
const rate = b => b >= 1e9 ? (b / 1e9).toFixed(2) + ' GB/s' : (b / 1e6).toFixed(b < 1e7 ? 1 : 0) + ' MB/s';
const short = x => x >= 100 ? x.toFixed(0) : x.toPrecision(3);
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(9)), b => b.toString(16).padStart(2, '0')).join('');

/* ---- markdown: blocks, then what stands within them, as nodes ---- */

const INLINE = /(`+)([\s\S]*?[^`])\1(?!`)|\*\*(?=\S)([\s\S]*?\S)\*\*|\*(?=[^\s*])([^*]*[^\s*])\*|~~(?=\S)([\s\S]*?\S)~~|\[([^\]\n]+)\]\(([^()\s]+)\)|(https?:\/\/[^\s<>()"']*[^\s<>()"'.,;:!?])/;

function inline(text, depth = 0) {
  const out = [];
  while (text) {
    const m = depth < 8 ? INLINE.exec(text) : null;
    if (!m) { out.push(text); break; }
    if (m.index) out.push(text.slice(0, m.index));
    if (m[1]) out.push(make('code', '', m[2].trim() || m[2]));
    else if (m[3]) out.push(make('strong', '', ...inline(m[3], depth + 1)));
    else if (m[4]) out.push(make('em', '', ...inline(m[4], depth + 1)));
    else if (m[5]) out.push(make('del', '', ...inline(m[5], depth + 1)));
    else out.push(link(m[7] || m[8], m[6] || m[8], m[0]));
    text = text.slice(m.index + m[0].length);
  }
  return out;
}

function link(url, label, whole) {
  if (!/^https?:\/\//i.test(url)) return whole;
  const a = make('a', '', label);
  a.href = url;
  a.target = '_blank';
  a.rel = 'noopener noreferrer';
  return a;
}

function codeBlock(text, language) {
  const copy = button('Copy', () => navigator.clipboard?.writeText(text).then(() => { copy.textContent = 'Copied'; }));
  const box = make('div', 'block', make('pre', '', make('code', '', text)), copy);
  if (language) box.append(make('span', 'dim', language));
  return box;
}

const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;

function listFrom(lines, at, out) {
  const first = ITEM.exec(lines[at]), indent = first[1].length;
  const list = make(/\d/.test(first[2]) ? 'ol' : 'ul', '');
  if (list.tagName === 'OL') list.start = parseInt(first[2], 10);
  while (at < lines.length) {
    const m = ITEM.exec(lines[at]);
    if (!m || m[1].length < indent) break;
    const inner = [m[3]];
    for (at++; at < lines.length; at++) {
      const next = ITEM.exec(lines[at]);
      if (next ? next[1].length <= indent : !/^\s+\S/.test(lines[at]) && !(lines[at] === '' && /^\s+\S/.test(lines[at + 1] || ''))) break;
      inner.push(lines[at].replace(new RegExp('^\\s{0,' + (indent + 2) + '}'), ''));
    }
    const nodes = inner.length === 1 ? inline(inner[0]) : markdown(inner.join('\n'), 1);
    list.append(make('li', '', ...nodes));
  }
  out.push(list);
  return at;
}

function table(lines, at, out) {
  const cells = line => line.trim().replace(/^\||\|$/g, '').split('|').map(c => c.trim());
  const row = (line, tag) => make('tr', '', ...cells(line).map(c => make(tag, '', ...inline(c))));
  const t = make('table', '', row(lines[at], 'th'));
  for (at += 2; at < lines.length && lines[at].includes('|'); at++) t.append(row(lines[at], 'td'));
  out.push(t);
  return at;
}

function markdown(text, depth = 0) {
  const lines = text.replace(/\r\n?/g, '\n').split('\n'), out = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at], fence = /^\s*(```+|~~~+)\s*([\w+#.-]*)/.exec(line), head = /^(#{1,6})\s+(.*)$/.exec(line);
    if (fence) {
      const code = [];
      for (at++; at < lines.length && !lines[at].trimStart().startsWith(fence[1]); at++) code.push(lines[at]);
      at++;
      out.push(codeBlock(code.join('\n'), fence[2]));
    } else if (!line.trim()) {
      at++;
    } else if (head) {
      out.push(make('h' + Math.min(6, head[1].length + 2), '', ...inline(head[2])));
      at++;
    } else if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) {
      out.push(make('hr'));
      at++;
    } else if (/^>/.test(line) && depth < 8) {
      const quote = [];
      for (; at < lines.length && /^>/.test(lines[at]); at++) quote.push(lines[at].replace(/^> ?/, ''));
      out.push(make('blockquote', '', ...markdown(quote.join('\n'), depth + 1)));
    } else if (ITEM.test(line) && depth < 8) {
      at = listFrom(lines, at, out);
    } else if (line.includes('|') && /^\s*\|?[\s:|-]*-[\s:|-]*$/.test(lines[at + 1] || '') && lines[at + 1].includes('|')) {
      at = table(lines, at, out);
    } else {
      const part = [line];
      for (at++; at < lines.length && lines[at].trim() && !/^\s*(```|~~~)|^#{1,6}\s|^>/.test(lines[at]) && !ITEM.test(lines[at]); at++)
        part.push(lines[at]);
      out.push(make('p', '', ...part.flatMap((l, i) => i ? [make('br'), ...inline(l)] : inline(l))));
    }
  }
  return out;
}

/* ---- what is kept in the browser ---- */

const FIELDS = ['temperature', 'top_p', 'top_k', 'min_p', 'repeat_penalty', 'seed', 'max_tokens'];
const plain = (k, v) => k === 'box' || k === 'pending' || k === 'unfolded' ? undefined : v;
const keep = { get: (k, otherwise) => { try { return JSON.parse(localStorage.getItem('sluice.' + k)) ?? otherwise; } catch { return otherwise; } },
  set: (k, v) => { try { localStorage.setItem('sluice.' + k, JSON.stringify(v, plain)); } catch (e) { notice('This browser keeps no more: export and delete conversations. ' + e.message); } } };

let settings = keep.get('settings', {});
let all = good(keep.get('conversations', []));
let current = all.find(c => c.id === keep.get('current', '')) || null;
let running = null;  /* { conversation, message, abort, began, first } */
let facts = { context: 0, model: '', chat: true };
let pulse = null;

/* Only what has the form of conversations: from the browser, or a file. */
function good(list) {
  const text = v => typeof v === 'string' ? v : '';
  return (Array.isArray(list) ? list : []).filter(c => c && typeof c === 'object' && Array.isArray(c.messages)).map(c => ({
    id: /^[\w-]{1,40}$/.test(c.id) ? c.id : newId(), title: text(c.title).slice(0, 200),
    messages: c.messages.filter(m => m && (m.role === 'user' || m.role === 'assistant')).map(m => ({
      role: m.role, content: text(m.content), reasoning: text(m.reasoning), fault: text(m.fault), stream: /^[\w-]{1,64}$/.test(m.stream) ? m.stream : '',
      done: m.done !== false, stats: m.stats && typeof m.stats === 'object' ? m.stats : null })) }));
}

const save = () => { keep.set('conversations', all); keep.set('current', current ? current.id : ''); };
const headers = more => ({ 'Content-Type': 'application/json', ...(settings.key ? { Authorization: 'Bearer ' + settings.key } : {}), ...more });

function notice(text) {
  $('stall').textContent = text;
}

/* ---- conversations ---- */

function showList() {
  $('list').replaceChildren(...all.map(c => {
    const name = button(c.title || 'New conversation', () => open(c)), drop = button('\u00d7', () => remove(c));
    name.classList.add('name');
    drop.setAttribute('aria-label', 'Delete ' + (c.title || 'conversation'));
    return make('div', c === current ? 'item on' : 'item', name, drop);
  }));
}

function open(c) {
  current = c;
  document.body.classList.remove('open');
  save();
  showList();
  showLog(true);
}

function fresh() {
  const c = { id: newId(), title: '', messages: [] };
  all.unshift(c);
  open(c);
  $('input').focus();
}

function remove(c) {
  if (!confirm('Delete this conversation?')) return;
  if (running && running.conversation === c) stop();
  all = all.filter(x => x !== c);
  if (current === c) current = all[0] || null;
  if (current) open(current); else fresh();
}

function exportAll() {
  const a = make('a');
  a.href = URL.createObjectURL(new Blob([JSON.stringify({ format: 'sluice-conversations', version: 1, conversations: all }, plain, 1)], { type: 'application/json' }));
  a.download = 'conversations.json';
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10000);
}

async function importFile(file) {
  try {
    const data = JSON.parse(await file.text()), list = good(Array.isArray(data) ? data : data.conversations);
    if (!list.length) throw new Error('it holds no conversations');
    const known = new Set(list.map(c => c.id));
    all = [...list, ...all.filter(c => !known.has(c.id))];
    open(list[0]);
  } catch (e) {
    alert(file.name + ' was not imported: ' + e.message);
  }
}

/* ---- the log ---- */

function statsText(m) {
  const s = m.stats;
  if (!s) return '';
  const parts = [];
  if (s.tokens) parts.push(s.tokens + ' tokens');
  if (s.tokens > 1 && s.seconds > 0) parts.push(short(s.tokens / s.seconds) + ' tok/s');
  if (s.first > 0) parts.push('first after ' + clock(s.first));
  if (s.used && facts.context) parts.push('context ' + s.used + '/' + facts.context);
  return parts.join(' \u00b7 ');
}

function bodyOf(m) {
  const nodes = [];
  if (m.reasoning) {
    const d = make('details', '', make('summary', '', m.content || m.done ? 'Reasoning' : 'Reasoning\u2026'), ...markdown(m.reasoning));
    d.open = Boolean(m.unfolded);
    d.addEventListener('toggle', () => { m.unfolded = d.open; });
    nodes.push(d);
  }
  if (m.content) nodes.push(...markdown(m.content));
  if (m.fault) nodes.push(make('p', 'fault', m.fault));
  return nodes;
}

function fill(box, m) {
  const text = make('div', 'text'), acts = make('div', 'acts');
  if (m.role === 'user') text.textContent = m.content; else text.append(...bodyOf(m));
  box.replaceChildren(text);
  if (m.role === 'assistant' && !m.done) {
    box.append(make('div', 'wait', make('span', 'say'), make('div', 'bar', make('i'))));
    return;
  }
  acts.append(button('Copy', () => navigator.clipboard?.writeText(m.content)));
  if (m.role === 'user') acts.append(button('Edit', () => edit(box, m)));
  else if (m === current.messages[current.messages.length - 1]) acts.append(button('Regenerate', regenerate));
  acts.append(make('span', 'dim', statsText(m)));
  box.append(acts);
}

function showLog(bottom) {
  const log = $('log');
  log.replaceChildren(...(current ? current.messages : []).map(m => {
    const box = make('div', 'message ' + m.role);
    m.box = box;
    fill(box, m);
    return box;
  }));
  if (bottom) log.scrollTop = log.scrollHeight;
  const busy = Boolean(running);
  $('send').hidden = busy;
  $('stop').hidden = !busy;
  showWait();
}

function redraw(m) {
  if (m.pending) return;
  m.pending = true;
  requestAnimationFrame(() => {
    m.pending = false;
    if (!m.box || !m.box.isConnected) return;
    const log = $('log'), near = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
    fill(m.box, m);
    showWait();
    if (near) log.scrollTop = log.scrollHeight;
  });
}

function edit(box, m) {
  if (running) return;
  const area = make('textarea');
  area.value = m.content;
  area.rows = Math.min(12, m.content.split('\n').length + 1);
  const go = button('Send', () => {
    if (running || !area.value.trim()) return;
    current.messages.length = current.messages.indexOf(m);
    ask(area.value.trim());
  });
  box.replaceChildren(area, make('div', 'acts', go, button('Cancel', () => fill(box, m))));
  area.focus();
}

function regenerate() {
  if (running || !current) return;
  while (current.messages.length && current.messages[current.messages.length - 1].role === 'assistant') current.messages.pop();
  if (current.messages.length) answer(current);
}

/* ---- answers ---- */

function ask(text) {
  if (!current) fresh();
  if (!current.title) current.title = text.slice(0, 60);
  current.messages.push({ role: 'user', content: text, done: true });
  showList();
  answer(current);
}

function request(c) {
  const text = (settings.system || '') + c.messages.map(m => m.content).join('');
  const body = { model: facts.model, stream: true, stream_options: { include_usage: true }, return_progress: true,
    messages: c.messages.filter(m => m.content).map(m => ({ role: m.role, content: m.content })) };
  if (!body.model) delete body.model;
  if (settings.system) body.messages.unshift({ role: 'system', content: settings.system });
  if (!facts.chat) { /* no template: the text goes on */
    delete body.messages;
    body.prompt = text;
  }
  for (const f of FIELDS) if (settings[f] !== undefined && settings[f] !== '') body[f] = Number(settings[f]);
  return body;
}

async function answer(c) {
  const m = { role: 'assistant', content: '', reasoning: '', fault: '', done: false, stream: c.id + '-' + newId().slice(0, 8), stats: null };
  const body = request(c);
  c.messages.push(m);
  save();
  await follow(c, m, signal => fetch(facts.chat ? '/v1/chat/completions' : '/v1/completions', { method: 'POST', signal, headers: headers({ 'X-Conversation-Id': m.stream }), body: JSON.stringify(body) }));
}

/* After a reload, or when the connection broke: all of it once more, from the server. */
async function resume(c, m) {
  await follow(c, m, signal => fetch('/v1/stream?conv_id=' + m.stream + '&from=0', { signal, headers: headers() }));
}

async function follow(c, m, start) {
  const run = running = { conversation: c, message: m, abort: new AbortController(), began: performance.now(), first: 0, last: 0, say: '', part: 0, id: '', tries: 0, stopped: false };
  showLog(true);
  for (;;) {
    let broken = false;
    try {
      const r = await start(run.abort.signal);
      run.id = r.headers.get('X-Request-Id') || '';
      if (!r.ok) {
        const e = await r.json().catch(() => null);
        m.fault = r.status === 404 && m.stream ? 'The answer was interrupted, and the server has it no more.' : (e && e.error && e.error.message) || 'HTTP ' + r.status;
        if (r.status === 401) m.fault += ' (Settings has a field for the key.)';
      } else {
        m.content = m.reasoning = m.fault = '';
        broken = !await read(r.body, run, m);
      }
    } catch (e) {
      broken = !run.stopped;
      if (!broken) break;
      m.fault = 'The server cannot be reached: ' + e.message;
    }
    if (!broken || run.stopped || ++run.tries > 20) break;
    run.say = 'The connection broke; trying again';
    showWait();
    await new Promise(go => setTimeout(go, Math.min(1000 * run.tries, 10000)));
    if (run.stopped) break;
    start = signal => fetch('/v1/stream?conv_id=' + m.stream + '&from=0', { signal, headers: headers() });
  }
  m.done = true;
  if (running === run) running = null;
  save();
  if (current === c) showLog(false);
}

/* The events of a stream; false: it broke off. */
async function read(body, run, m) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '', last = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return false;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith(':')) comment(run, line.slice(1).trim());
      else if (line === 'data: [DONE]') return true;
      else if (line.startsWith('data: ') && take(run, m, JSON.parse(line.slice(6)))) return true;
    }
    redraw(m);
    if (performance.now() - last > 2000) { last = performance.now(); save(); }
  }
}

/* ": queued 3", ": prefill 512/9000", ": sweep 41/80" */
function comment(run, text) {
  const m = /^(queued|prefill|sweep) (\d+)(?:\/(\d+))?$/.exec(text);
  if (!m) return;
  if (m[1] === 'queued') run.place = Number(m[2]);
  if (m[1] === 'prefill') run.prefill = [Number(m[2]), Number(m[3])];
  showWait();
}

/* true: it was the last. */
function take(run, m, event) {
  const now = performance.now();
  if (event.error) {
    m.fault = run.stopped ? '' : event.error.message || 'The server failed.';
    return true;
  }
  if (event.prompt_progress) run.prefill = [event.prompt_progress.processed, event.prompt_progress.total];
  for (const choice of event.choices || []) {
    const d = choice.delta || {};
    if (d.content || d.reasoning_content || choice.text) {
      run.first = run.first || now;
      run.last = now;
      run.pieces = (run.pieces || 0) + 1;
    }
    m.content += d.content || choice.text || '';
    m.reasoning += d.reasoning_content || '';
  }
  m.stats = { tokens: run.pieces || 0, seconds: (run.last - run.first) / 1000, first: run.first ? (run.first - run.began) / 1000 : 0 };
  if (event.usage) {
    m.stats.tokens = event.usage.completion_tokens;
    m.stats.used = event.usage.total_tokens;
  }
  return false;
}

function stop() {
  const run = running;
  if (!run) return;
  run.stopped = true;
  fetch('/v1/stream?conv_id=' + run.message.stream, { method: 'DELETE', headers: headers() }).catch(() => {});
  run.abort.abort();
}

/* ---- the wait, made visible ---- */

/* Seconds that the sweep under way still takes: as far as it has come, else as the last one did. */
const sweepLeft = p => Math.max(0, p.layer ? p.elapsed * (p.layers / p.layer - 1) : p.sweep_seconds - p.elapsed);

function showWait() {
  const run = running, box = run && run.message.box;
  const say = box && box.querySelector('.wait .say'), bar = box && box.querySelector('.wait .bar i');
  if (!say) return;
  const slot = pulse && run.id ? pulse.slots.find(s => s.request === run.id) : null, spent = (performance.now() - run.began) / 1000;
  let text = run.say || 'waiting', part = 0;
  if (slot && slot.n_prompt_done < slot.n_prompt_tokens) run.prefill = [slot.n_prompt_done, slot.n_prompt_tokens];
  if (run.first) {
    const n = run.message.stats ? run.message.stats.tokens : 0;
    text = n + (n === 1 ? ' token' : ' tokens');
    if (pulse && pulse.layers) { text += ' \u00b7 layer ' + pulse.layer + '/' + pulse.layers; part = pulse.layer / pulse.layers; }
    if (pulse && pulse.sweep_seconds > 1) text += ' \u00b7 ' + clock(pulse.sweep_seconds) + ' a token';
  } else if (slot || run.prefill) {
    const [done, total] = run.prefill || [slot.n_prompt_done, slot.n_prompt_tokens];
    const sweeps = pulse ? Math.ceil((total - done) / pulse.max_positions) : 1;
    const left = pulse ? (sweeps - 1) * pulse.sweep_seconds + sweepLeft(pulse) : 0;
    text = 'reading the prompt, ' + done + ' of ' + total + ' tokens';
    if (pulse && pulse.layers) text += ' \u00b7 layer ' + pulse.layer + '/' + pulse.layers;
    if (left > 1) text += ' \u00b7 about ' + clock(left) + ' to go';
    part = total ? (done + (pulse && pulse.layers ? Math.min(total - done, pulse.max_positions) * pulse.layer / pulse.layers : 0)) / total : 0;
  } else if (pulse && pulse.running) {
    const place = run.place !== undefined ? run.place : Math.max(0, pulse.waiting - 1), left = sweepLeft(pulse);
    text = place ? 'queued, ' + place + ' before this one' : 'waiting for the next sweep';
    if (!place && left > 1) text += ', about ' + clock(left);
    part = pulse.layers ? pulse.layer / pulse.layers : 0;
  }
  say.textContent = text + ' \u00b7 ' + clock(spent);
  bar.style.width = (100 * Math.min(1, part)).toFixed(1) + '%';
}

/* ---- the pipeline ---- */

let before = null, lanes = null;

function lane(name) {
  const rateText = make('span'), bar = make('i'), box = make('div', 'lane', make('b', '', name), ' ', rateText, make('div', 'bar', bar));
  return { box, rateText, bar };
}

function buildLanes() {
  const l = ['reader', 'transfer', 'compute'].map(lane), rings = ['host', 'device'].map(name => {
    const r = make('div', 'ring');
    r.title = name + ' slots: in use, ready, being filled, free';
    return r;
  });
  $('lanes').replaceChildren(l[0].box, rings[0], l[1].box, rings[1], l[2].box);
  return { l, rings };
}

function showRing(box, ring) {
  const most = 32, scale = ring.depth > most ? most / ring.depth : 1, n = Math.min(ring.depth, most);
  const used = Math.round(ring.used * scale), ready = Math.round(ring.ready * scale), filling = Math.round(ring.filling * scale);
  while (box.children.length < n) box.append(make('i'));
  while (box.children.length > n) box.lastChild.remove();
  for (let i = 0; i < n; i++) box.children[i].className = i < used ? 'used' : i < used + ready ? 'ready' : i < used + ready + filling ? 'filling' : '';
}

/* Where compute hardly waits, it is what the others wait for; else whoever fills its slots and works more. */
function stallText(shares) {
  const [reader, transfer, compute] = shares, busiest = compute.wait < 0.3 ? compute : transfer.busy > reader.busy ? transfer : reader;
  const waiting = shares.filter(s => s !== busiest && s.wait > 0.2).map(s => s.name + ' (' + Math.round(100 * s.wait) + ' %)');
  return waiting.length ? waiting.join(' and ') + (waiting.length > 1 ? ' wait for ' : ' waits for ') + busiest.name : '';
}

function showPulse(p) {
  lanes = lanes || buildLanes();
  pulse = p;
  $('sweep-text').textContent = p.running
    ? 'sweep ' + (p.sweep + 1) + ', layer ' + p.layer + '/' + p.layers + ', ' + p.positions + (p.positions === 1 ? ' position' : ' positions') + ', ' + p.running + ' running, ' + p.waiting + ' waiting'
    : 'idle' + (p.sweep_seconds ? ', the last sweep took ' + clock(p.sweep_seconds) : '');
  $('sweep-bar').style.width = (p.running && p.layers ? 100 * p.layer / p.layers : 0) + '%';
  p.rings.forEach((r, i) => showRing(lanes.rings[i], r));
  if (!before) { before = p; return; }
  const seconds = p.seconds - before.seconds;
  if (seconds < 0.4) { showWait(); return; }
  const shares = p.stages.map((s, i) => {
    const was = before.stages[i], clip = x => Math.max(0, Math.min(1, x / seconds));
    return { name: s.name, busy: clip(s.busy - was.busy), wait: clip(s.wait - was.wait), rate: Math.max(0, s.bytes - was.bytes) / seconds, ceiling: s.ceiling };
  });
  shares.forEach((s, i) => {
    lanes.l[i].rateText.textContent = (s.rate ? rate(s.rate) : '\u2013') + (s.ceiling ? ' of ' + rate(s.ceiling) : '');
    lanes.l[i].bar.style.width = (100 * (s.ceiling ? Math.min(1, s.rate / s.ceiling) : s.busy)).toFixed(1) + '%';
  });
  $('stall').textContent = p.running ? stallText(shares) : '';
  before = p;
  showWait();
}

async function watch() {
  for (;;) {
    try {
      const r = await fetch('/events', { headers: headers() });
      if (!r.ok) throw new Error('HTTP ' + r.status);
      const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ''; ;) {
        const { value, done } = await reader.read();
        if (done) break;
        const lines = (rest + value).split('\n');
        rest = lines.pop();
        const last = lines.filter(l => l.startsWith('data: ')).pop();
        if (last && !document.hidden) showPulse(JSON.parse(last.slice(6)));
      }
      $('sweep-text').textContent = 'the server has ended the connection';
    } catch (e) {
      $('sweep-text').textContent = 'no news of the pipeline: ' + e.message;
    }
    pulse = before = null;
    await new Promise(go => setTimeout(go, 3000));
  }
}

/* ---- the beginning ---- */

async function look() {
  try {
    const r = await fetch('/props', { headers: headers() }), p = await r.json();
    if (!r.ok) throw new Error(p.error ? p.error.message : 'HTTP ' + r.status);
    const d = p.default_generation_settings;
    facts = { model: p.model, context: d.n_ctx, chat: p.chat_template };
    $('input').placeholder = facts.chat ? 'Ask something' : 'A text to go on with: the model has no chat template';
    $('model').textContent = p.model;
    $('context').textContent = facts.context + ' tokens of context';
    for (const f of FIELDS) if (d[f] !== undefined) $(f).placeholder = d[f];
    if (current) showLog(true);
  } catch (e) {
    $('model').textContent = e.message;
  }
}

function theme(next) {
  if (next) settings.theme = settings.theme === 'dark' || (!settings.theme && matchMedia('(prefers-color-scheme: dark)').matches) ? 'light' : 'dark';
  if (settings.theme) document.documentElement.dataset.theme = settings.theme;
  if (next) keep.set('settings', settings);
}

function fold(id, panel, name) {
  const show = on => { $(panel).hidden = !on; $(id).setAttribute('aria-expanded', String(on)); };
  show(keep.get(name, innerWidth > 700 && panel === 'pipeline'));
  $(id).addEventListener('click', () => { show($(panel).hidden); keep.set(name, !$(panel).hidden); });
}

function begin() {
  theme(false);
  fold('live', 'pipeline', 'show.pipeline');
  fold('tune', 'settings', 'show.settings');
  for (const f of [...FIELDS, 'system', 'key']) {
    $(f).value = settings[f] ?? '';
    $(f).addEventListener('change', () => { settings[f] = $(f).value; keep.set('settings', settings); if (f === 'key') look(); });
  }
  $('new').addEventListener('click', fresh);
  $('export').addEventListener('click', exportAll);
  $('import').addEventListener('click', () => $('file').click());
  $('file').addEventListener('change', () => { if ($('file').files[0]) importFile($('file').files[0]); $('file').value = ''; });
  $('menu').addEventListener('click', () => document.body.classList.toggle('open'));
  $('theme').addEventListener('click', () => theme(true));
  $('stop').addEventListener('click', stop);
  $('log').addEventListener('click', () => document.body.classList.remove('open'));
  const input = $('input'), grow = () => { input.style.height = 'auto'; input.style.height = input.scrollHeight + 2 + 'px'; };
  input.addEventListener('input', grow);
  const submit = () => {
    if (running || !input.value.trim()) return;
    ask(input.value.trim());
    input.value = '';
    grow();
  };
  $('form').addEventListener('submit', e => { e.preventDefault(); submit(); });
  input.addEventListener('keydown', e => { if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) { e.preventDefault(); submit(); } });
  if (current) open(current); else if (all[0]) open(all[0]); else fresh();
  look();
  watch();
  setInterval(() => { if (running) showWait(); }, 500);
  for (const c of all) {
    const m = c.messages[c.messages.length - 1];
    if (m && m.role === 'assistant' && !m.done && m.stream && !running) resume(c, m);
    else if (m && !m.done) m.done = true;
  }
}

begin();
