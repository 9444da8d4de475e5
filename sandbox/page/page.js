// The page of the sandbox. It shows what the state says and nothing else; whatever comes from a request reaches the
// document as text only (textContent), never as markup.
'use strict';

const words = {
  en: {
    sandbox: 'sandbox', calls: 'Calls', faults: 'Faults', trouble: 'Problems', reset: 'Reset everything',
    noCalls: 'No call yet. Cards appear as soon as an event arrives.',
    noTrouble: 'Nothing to report.',
    scope: 'For', scopeAll: 'all requests', scopeOne: 'the next request', scopeFive: 'the next 5 requests',
    open: 'accepting', refuse: 'refusing connections', 'black-hole': 'black hole', gone: 'no connection to the sandbox',
    requests: 'Requests', accepted: 'accepted', refused: 'refused', faulted: 'with faults', violations: 'violations',
    connections: 'connections', popups: 'open popups',
    in: 'incoming', out: 'outgoing',
    ringing: 'ringing', dialing: 'calling', talking: 'talking', ended: 'ended',
    Success: 'answered', Missed: 'missed', Cancelled: 'cancelled', Busy: 'busy', NoAnswer: 'no answer',
    NotAvailable: 'not available', NotAllowed: 'not allowed',
    diversion: 'Line', started: 'Started', duration: 'Duration', seconds: 's', round: 'round', ext: 'ext.',
    recording: 'Recording', once: 'temporary, works once', awaited: 'Recording not received yet',
    expired: 'This link does not play here',
    problem: 'refused', note: 'tolerated', violation: 'order', request: 'request', clear: 'Clear',
    pbx: 'The PBX', pbxUrl: 'Address of the PBX', pbxKey: 'Key of the PBX', keyNote: 'Empty: the key it was started with',
    switchOn: 'Switch the integration on', from: 'Employee', to: 'Number', call: 'Call', callTo: 'Call',
    setup: 'switched on', notSetup: 'not switched on', noAnswer: 'no answer', answered: 'the PBX answered',
    hits: 'times', outOfOrder: 'Order violated: ', failed: 'That did not work: ', logError: 'Log: ',
    off: 'No faults', delay: 'Delay 3 s', hang: 'Hang', cut: 'Cut', 'cut-body': 'Cut in body', 'slow-body': 'Slow body',
    'endless-body': 'Endless body', 'huge-header': 'Huge header', 'long-length': 'Length too long',
    'short-length': 'Length too short', html: 'HTML page', hole: 'Black hole', down: 'Refuse',
    'cut-header': 'Cut in header',
  },
  ru: {
    sandbox: '— песочница', calls: 'Звонки', faults: 'Сбои', trouble: 'Замечания', reset: 'Сбросить всё',
    noCalls: 'Звонков пока нет. Карточка появится с первым событием.',
    noTrouble: 'Замечаний нет.',
    scope: 'Для', scopeAll: 'всех запросов', scopeOne: 'следующего запроса', scopeFive: 'следующих 5 запросов',
    open: 'принимает', refuse: 'отказывает в соединении', 'black-hole': 'чёрная дыра', gone: 'нет связи с песочницей',
    requests: 'Запросы', accepted: 'приняты', refused: 'отклонены', faulted: 'со сбоем', violations: 'нарушения',
    connections: 'соединения', popups: 'открытые окна',
    in: 'входящий', out: 'исходящий',
    ringing: 'звонит', dialing: 'вызов', talking: 'разговор', ended: 'завершён',
    Success: 'отвечен', Missed: 'пропущен', Cancelled: 'отменён', Busy: 'занято', NoAnswer: 'нет ответа',
    NotAvailable: 'недоступен', NotAllowed: 'запрещено',
    diversion: 'Линия', started: 'Начало', duration: 'Длительность', seconds: 'с', round: 'круг', ext: 'доб.',
    recording: 'Запись', once: 'временная, на один раз', awaited: 'Запись ещё не получена',
    expired: 'Эта ссылка здесь не воспроизводится',
    problem: 'отклонён', note: 'допущено', violation: 'порядок', request: 'запрос', clear: 'Снять',
    pbx: 'АТС', pbxUrl: 'Адрес АТС', pbxKey: 'Ключ авторизации АТС', keyNote: 'Пусто: ключ, заданный при запуске',
    switchOn: 'Включить интеграцию', from: 'Сотрудник', to: 'Номер', call: 'Позвонить', callTo: 'Позвонить:',
    setup: 'включено', notSetup: 'не включено', noAnswer: 'нет ответа', answered: 'АТС ответила',
    hits: 'раз', outOfOrder: 'Нарушен порядок: ', failed: 'Не получилось: ', logError: 'Журнал: ',
    off: 'Без сбоев', delay: 'Задержка 3 с', hang: 'Молчание', cut: 'Обрыв', 'cut-body': 'Обрыв в теле',
    'slow-body': 'Медленное тело', 'endless-body': 'Тело без конца', 'huge-header': 'Огромный заголовок',
    'long-length': 'Длина больше', 'short-length': 'Длина меньше', html: 'Страница HTML', hole: 'Чёрная дыра',
    down: 'Отказ', 'cut-header': 'Обрыв в заголовке',
  },
};

const language = (navigator.languages || [navigator.language]).find((tag) => /^(ru|en)\b/i.test(tag)) || 'en';
const text = words[language.slice(0, 2).toLowerCase()];
const byId = (id) => document.getElementById(id);

// A button sets its fault and, pressed again, clears it. `whole` ones concern the listener and take no scope.
const faults = [
  { spec: 'refuse', label: 'down', whole: true },
  { spec: 'black-hole', label: 'hole', whole: true },
  { spec: 'delay=3000', label: 'delay' },
  { spec: 'hang', label: 'hang' },
  { spec: 'status=500', label: '500' },
  { spec: 'status=502', label: '502' },
  { spec: 'status=503', label: '503' },
  { spec: 'status=429', label: '429' },
  { spec: 'status=400', label: '400' },
  { spec: 'status=401', label: '401' },
  { spec: 'status=403', label: '403' },
  { spec: 'status=404', label: '404' },
  { spec: 'status=302', label: '302' },
  { spec: 'cut', label: 'cut' },
  { spec: 'cut-header', label: 'cut-header' },
  { spec: 'cut-body', label: 'cut-body' },
  { spec: 'slow-body', label: 'slow-body' },
  { spec: 'endless-body', label: 'endless-body' },
  { spec: 'huge-header', label: 'huge-header' },
  { spec: 'long-length', label: 'long-length' },
  { spec: 'short-length', label: 'short-length' },
  { spec: 'html', label: 'html' },
];

function element(tag, className, content) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (content !== undefined) node.textContent = content;
  return node;
}

// Touches the document only where it differs, so that neither a screen reader nor a player is disturbed.
function put(node, content) {
  if (node.textContent !== String(content)) node.textContent = content;
}

function clock(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const pad = (value) => String(value).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  const rest = pad(seconds % 60);
  return hours ? `${hours}:${pad(Math.floor(seconds / 60) % 60)}:${rest}` : `${Math.floor(seconds / 60)}:${rest}`;
}

function time(ms) {
  return new Date(ms).toLocaleTimeString(language, { hour12: false });
}

function playable(link) {
  try {
    return ['http:', 'https:'].includes(new URL(link).protocol);
  } catch {
    return false;
  }
}

async function post(path, body) {
  const failure = byId('failure');
  try {
    const response = await fetch(`/_sandbox/${path}`, { method: 'POST', body: JSON.stringify(body) });
    const reply = await response.json();
    if (!response.ok) throw new Error(reply.error);
    failure.hidden = true;
  } catch (error) {
    failure.textContent = text.failed + error.message;
    failure.hidden = false;
  }
}

let skew = 0;
let latest = null;
const cards = new Map();

// The stage of the whole call is that of its liveliest extension.
function stageOf(call) {
  const stages = call.legs.map((leg) => leg.stage);
  return stages.includes('talking') ? 'talking' : stages.includes('ringing') ? 'ringing' : 'ended';
}

function legClock(leg, now) {
  if (leg.stage === 'talking') return clock(now - leg.accepted_ms);
  if (leg.stage === 'ringing') return clock(now - leg.shown_ms);
  return leg.duration === null ? '' : clock(leg.duration * 1000);
}

function legRow(call, leg) {
  const row = element('li');
  const who = element('span', 'ext', `${text.ext} ${leg.ext}`);
  if (leg.rounds > 1) who.append(element('span', 'round', ` · ${text.round} ${leg.rounds}`));
  let state = leg.status ? text[leg.status] : text[leg.stage];
  let look = leg.stage;
  if (leg.stage === 'ringing' && call.type === 'out') state = text.dialing;
  if (leg.stage === 'ended' && leg.status && !['Success', 'Cancelled'].includes(leg.status)) look = 'failed';
  const time = element('span', 'clock');
  row.append(who, element('span', `chip ${look}`, state), time);
  return { row, time };
}

function newCard() {
  const root = element('article', 'call');
  const parts = {
    root,
    title: element('h3'),
    phone: element('div', 'phone'),
    kind: element('span', 'chip'),
    legs: element('ul', 'legs'),
    facts: element('dl', 'facts'),
    player: element('div', 'player'),
    flag: element('p', 'flag'),
    callid: element('code', 'callid'),
    clocks: [],
    seen: '',
    link: null,
  };
  const names = element('div');
  names.append(parts.title, parts.phone);
  const top = element('div', 'top');
  top.append(names, parts.kind);
  root.append(top, parts.legs, parts.facts, parts.player, parts.flag, parts.callid);
  return parts;
}

function fact(list, name, value) {
  list.append(element('dt', '', name), element('dd', '', value));
}

function player(parts, call) {
  const link = call.record_link;
  const awaited = !link && call.is_recorded && stageOf(call) === 'ended';
  const key = link ? `${call.is_temp} ${link}` : String(awaited);
  if (parts.link === key) return;
  parts.link = key;
  parts.player.replaceChildren();
  parts.player.hidden = !link && !awaited;
  if (awaited) {
    parts.player.append(element('span', 'round', text.awaited));
  }
  if (!link) return;
  const note = element('span', 'round', call.is_temp ? ` (${text.once})` : '');
  if (!playable(link)) {
    parts.player.append(element('span', '', link), note);
    return;
  }
  const anchor = element('a', '', text.recording);
  anchor.href = link;
  anchor.target = '_blank';
  anchor.rel = 'noopener noreferrer';
  anchor.title = link;
  // A temporary link works once, and looking at it must not use it up.
  if (!call.is_temp) {
    const audio = element('audio');
    audio.controls = true;
    audio.preload = 'metadata';
    audio.setAttribute('aria-label', `${text.recording}: ${call.contact_name || call.phone}`);
    // The sandbox may reach the PBX where this browser does not: through a tunnel, say.
    const through = `/_sandbox/listen?callid=${encodeURIComponent(call.callid)}`;
    audio.addEventListener('error', () => {
      if (audio.getAttribute('src') === link) {
        audio.src = through;
      } else {
        note.textContent = ` — ${text.expired}`;
        audio.hidden = true;
      }
    });
    audio.src = link;
    parts.player.append(audio);
  }
  parts.player.append(anchor, note);
}

function fill(parts, call) {
  const seen = JSON.stringify(call);
  if (parts.seen === seen) return;
  parts.seen = seen;
  parts.root.className = `call ${stageOf(call)}`;
  put(parts.title, call.contact_name || call.phone);
  put(parts.phone, call.contact_name ? call.phone : '');
  put(parts.kind, `${call.type === 'in' ? '↙' : '↗'} ${text[call.type]}`);
  parts.clocks = [];
  parts.legs.replaceChildren(...call.legs.map((leg) => {
    const { row, time } = legRow(call, leg);
    parts.clocks.push({ leg, node: time });
    return row;
  }));
  parts.facts.replaceChildren();
  fact(parts.facts, text.started, time(call.started_ms));
  if (call.diversion) fact(parts.facts, text.diversion, call.diversion);
  for (const [name, value] of call.data) fact(parts.facts, name, value);
  player(parts, call);
  parts.flag.hidden = !call.violations;
  put(parts.flag, text.outOfOrder + call.violations);
  put(parts.callid, call.callid);
}

function showCalls(state) {
  const list = byId('calls');
  const wanted = new Set(state.calls.map((call) => call.callid));
  for (const [callid, parts] of cards) {
    if (!wanted.has(callid)) {
      parts.root.remove();
      cards.delete(callid);
    }
  }
  let place = list.firstChild;
  for (const call of state.calls) {
    let parts = cards.get(call.callid);
    if (!parts) {
      parts = newCard();
      cards.set(call.callid, parts);
    }
    fill(parts, call);
    if (parts.root === place) {
      place = place.nextSibling;
    } else {
      list.insertBefore(parts.root, place);
    }
  }
  byId('no-calls').hidden = state.calls.length > 0;
}

function showCounters(state) {
  const counters = state.counters;
  const rows = [
    ['requests', counters.requests], ['accepted', counters.accepted], ['refused', counters.refused, true],
    ['violations', counters.violations, true], ['faulted', counters.faulted], ['popups', state.open_popups],
    ['connections', counters.connections],
  ];
  const list = byId('counters');
  if (!list.firstChild) {
    for (const [name] of rows) {
      const pair = element('div');
      pair.append(element('dt', '', text[name]), element('dd', '', '0'));
      list.append(pair);
    }
  }
  rows.forEach(([, value, warn], at) => {
    const node = list.children[at].lastChild;
    put(node, value.toLocaleString(language));
    node.className = warn && value ? 'warn' : '';
  });
}

// One contact, with the number that a click calls; whoever is responsible is who calls, unless another one is entered.
function contactRow(contact) {
  const row = element('li');
  const who = element('span', '', contact.name || contact.number);
  who.append(element('span', 'round', ` ${contact.name ? contact.number : ''}`));
  if (contact.ext) who.append(element('span', 'round', ` · ${text.ext} ${contact.ext}`));
  const button = element('button', '', text.call);
  button.type = 'button';
  button.setAttribute('aria-label', `${text.callTo} ${contact.name || contact.number}`);
  button.addEventListener('click', () => {
    const from = byId('from').value.trim() || contact.ext || '';
    if (from) post('click', { from, to: contact.number });
    else byId('from').focus();
  });
  row.append(who, button);
  return row;
}

function deedRow(deed) {
  const row = element('li', deed.status === 200 ? 'done' : '');
  const what = deed.cmd === 'setup'
    ? text[deed.status === 200 ? 'setup' : 'notSetup']
    : `${deed.from} → ${deed.to}`;
  const said = deed.status === null ? text.noAnswer : `${text.answered}: ${deed.status}`;
  row.append(
    element('span', 'meta', `${time(deed.time_ms)} · ${deed.cmd} · ${deed.ms} ms`),
    element('span', '', `${what} — ${said}${deed.text ? `: ${deed.text}` : ''}`),
  );
  return row;
}

const shown = { contacts: '', deeds: '', url: null };

function showPbx(state) {
  for (const [name, row] of [['contacts', contactRow], ['deeds', deedRow]]) {
    const seen = JSON.stringify(state[name]);
    if (shown[name] === seen) continue;
    shown[name] = seen;
    byId(name).replaceChildren(...state[name].map(row));
  }
  // What somebody is typing stays.
  if (shown.url !== state.pbx_url) {
    shown.url = state.pbx_url;
    byId('pbx-url').value = state.pbx_url;
  }
}

function makeForms() {
  byId('setup').addEventListener('submit', (event) => {
    event.preventDefault();
    const wanted = {};
    if (byId('pbx-url').value) wanted.pbx_url = byId('pbx-url').value.trim();
    if (byId('pbx-key').value) wanted.pbx_token = byId('pbx-key').value;
    post('setup', wanted);
  });
  byId('dial').addEventListener('submit', (event) => {
    event.preventDefault();
    post('click', { from: byId('from').value.trim(), to: byId('to').value.trim() });
  });
}

function showMode(mode) {
  const pill = byId('mode');
  put(pill, text[mode]);
  pill.className = `pill ${mode === 'open' ? 'open' : 'down'}`;
}

function pressed(fault) {
  return latest.faults.filter((active) => active.spec === fault.spec || active.spec.startsWith(`${fault.spec},`));
}

function makeButtons() {
  for (const fault of faults) {
    const button = element('button', '', text[fault.label] || fault.label);
    button.type = 'button';
    button.setAttribute('aria-pressed', 'false');
    button.addEventListener('click', () => {
      const active = latest ? pressed(fault) : [];
      if (active.length) {
        post('faults', { clear: active.map((one) => one.id) });
      } else {
        post('faults', { set: fault.spec + (fault.whole ? '' : byId('scope').value) });
      }
    });
    fault.button = button;
    byId('buttons').append(button);
  }
  const off = element('button', '', text.off);
  off.type = 'button';
  off.addEventListener('click', () => post('faults', { clear: true }));
  byId('buttons').append(off);
  byId('reset').addEventListener('click', () => post('reset', {}));
}

let shownFaults = '';

function showFaults(state) {
  for (const fault of faults) fault.button.setAttribute('aria-pressed', String(pressed(fault).length > 0));
  const key = JSON.stringify(state.faults);
  if (key === shownFaults) return;
  shownFaults = key;
  byId('active').replaceChildren(...state.faults.map((active) => {
    const row = element('li');
    const button = element('button', '', text.clear);
    button.type = 'button';
    button.setAttribute('aria-label', `${text.clear}: ${active.spec}`);
    button.addEventListener('click', () => post('faults', { clear: active.id }));
    const name = element('span');
    name.append(element('code', '', active.spec), ` · ${active.hits} ${text.hits}`);
    row.append(name, button);
    return row;
  }));
}

let shownTrouble = '';

function showTrouble(state) {
  const key = JSON.stringify([state.trouble, state.log_error]);
  byId('no-trouble').hidden = state.trouble.length > 0 || Boolean(state.log_error);
  if (key === shownTrouble) return;
  shownTrouble = key;
  const rows = state.trouble.map((one) => {
    const row = element('li', one.kind);
    const parts = [time(one.time_ms), `${text.request} ${one.n}`, one.rule ? `${text.violation}: ${one.rule}` : text[one.kind]];
    if (one.callid) parts.push(one.callid);
    row.append(one.text, element('span', 'meta', parts.join(' · ')));
    return row;
  });
  if (state.log_error) rows.unshift(element('li', 'problem', text.logError + state.log_error));
  byId('trouble').replaceChildren(...rows);
}

function tick() {
  const now = Date.now() + skew;
  for (const parts of cards.values()) {
    for (const { leg, node } of parts.clocks) put(node, legClock(leg, now));
  }
}

function show(state) {
  latest = state;
  skew = state.now_ms - Date.now();
  put(byId('url'), state.url);
  showMode(state.mode);
  showCounters(state);
  showCalls(state);
  showPbx(state);
  showFaults(state);
  showTrouble(state);
  tick();
}

document.documentElement.lang = language;
for (const node of document.querySelectorAll('[data-text]')) node.textContent = text[node.dataset.text];
makeButtons();
makeForms();
const stream = new EventSource('/_sandbox/stream');
stream.addEventListener('message', (event) => show(JSON.parse(event.data)));
stream.addEventListener('error', () => showMode('gone'));
setInterval(tick, 500);
