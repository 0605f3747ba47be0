/* The board's page: takes the state from the stream, or by polling where there is none, and shows it.
   Plain ECMAScript 5: the browsers of televisions are old. */
(function () {
  "use strict";

  var STALE_AFTER = 10;      // seconds without a new state: what is shown is old
  var BLANK_AFTER = 120;     // seconds after which old figures are no longer shown at all
  var SILENT_STREAM = 15;    // seconds after which a stream that says nothing is opened again
  var RELOAD = 60;           // seconds that a page stays at least, though the daemon has another one by now
  var POLL = 3;              // seconds between two polls
  var RETRY_STREAM = 60;     // seconds after which one who polls tries the stream again
  var ROWS = 12;             // queues on one page; more of them take turns
  var FEW = 4;               // queues that have room for large letters
  var LONG = {few: 19, one: 22, two: 15};  // letters of a name that fit at full size
  var PAGE = 10;             // seconds that a page of queues stays
  var TURN = 5;              // seconds that one of several sources that are not heard is named

  var root = document.documentElement, body = document.body;
  var texts = JSON.parse(body.getAttribute("data-texts"));
  var version = body.getAttribute("data-version");
  var state = null, arrived = 0;     // the newest state, and when it came by our own clock
  var stream = null, heard = 0, polledAt = 0, streamTriedAt = 0, polling = false;
  var began = now(), ticked = 0;

  function now() { return new Date().getTime() / 1000; }
  function byId(id) { return document.getElementById(id); }
  function say(name, values) {
    return texts[name].replace(/\{(\w+)\}/g, function (_, key) { return String(values[key]); });
  }
  function setText(node, text) { if (node.textContent !== text) { node.textContent = text; } }
  function setClass(node, name) { if (node.className !== name) { node.className = name; } }

  // -- how figures are written --------------------------------------------------------------------

  function two(n) { return (n < 10 ? "0" : "") + n; }

  function clock(seconds) {
    var whole = Math.floor(seconds), h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60;
    return (h ? h + ":" + two(m) : String(m)) + ":" + two(whole % 60);
  }

  function span(seconds) {
    if (seconds < 60) { return say("seconds", {n: Math.floor(seconds)}); }
    var minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60);
    if (hours < 1) { return say("minutes", {n: minutes}); }
    return hours < 48 ? say("hours", {h: hours, m: minutes % 60}) : say("days", {n: Math.floor(hours / 24)});
  }

  function percent(share, digits) {
    return say("percent", {n: (share * 100).toFixed(digits || 0).replace(".", texts.decimal)});
  }

  /* Rounded, but never up to a target that was missed. */
  function servicePercent(share, target) {
    var shown = Math.round(share * 100), wanted = Math.round(target * 1000) / 10;
    return percent((share < target && shown >= wanted ? Math.ceil(wanted) - 1 : shown) / 100);
  }

  // -- what is shown ----------------------------------------------------------------------------------

  function tile(id, level, value, note, word) {
    var node = byId(id), parts = node.children;
    setClass(node, "tile " + level);
    setText(parts[1], value);
    setText(parts[2], note || "\u00a0");
    setText(parts[3], word || "\u00a0");
  }

  function word(level, age) {
    if (age !== null) { return texts[age < BLANK_AFTER && state && state.company ? "stale" : "no_data"]; }
    if (!state.open) { return texts.closed; }
    if (level === "none") { return state.silent ? texts.incomplete : ""; }
    return texts[level];
  }

  function showTiles(age) {
    var c = state && state.company;
    if (!c || (age !== null && age >= BLANK_AFTER)) {
      ["waiting", "longest", "talking", "free", "service_level", "missed", "callback", "handled"].forEach(function (id) {
        tile(id, "none", "\u2013", "", texts.no_data);
      });
      return;
    }
    var levels = c.levels, old = age !== null, named = function (level) { return word(level, age); };
    var unjudged = named("none");
    tile("waiting", levels.wait, String(c.waiting), c.waiting ? say("over_target", {n: c.over_target}) : texts.nobody,
         named(levels.wait));
    tile("longest", levels.wait, clock(c.longest_wait_seconds),
         c.waiting ? say("in_queue", {queue: c.longest_wait_queue || texts.no_queue}) : "", named(levels.wait));
    tile("talking", "none", String(c.talking), texts.calls, unjudged);
    showAgents(c.agents, unjudged);
    tile("service_level", levels.service_level,
         c.service_level === null ? "\u2013" : servicePercent(c.service_level, state.targets.service_level),
         say("target", {n: percent(state.targets.service_level)}),
         c.service_level === null && !unjudged ? texts.no_calls : named(levels.service_level));
    tile("missed", levels.missed, String(c.missed),
         c.missed_share === null ? "" : say("of_calls", {n: percent(c.missed_share, 1)}), named(levels.missed));
    tile("callback", levels.callback, String(c.missed_waiting),
         c.missed_waiting ? say("oldest", {n: span(c.missed_oldest_seconds)}) : texts.nobody, named(levels.callback));
    var before = c.handled_last_week;
    tile("handled", "none", String(c.handled), before === null ? texts.no_week_ago : say("week_ago", {n: before}),
         unjudged || (before ? change(c.handled / before - 1) : ""));
  }

  function change(share) {
    var shown = Math.round(share * 100);
    return (shown > 0 ? "+" : shown < 0 ? "\u2212" : "\u00b1") + say("percent", {n: Math.abs(shown)});
  }

  function showAgents(agents, unjudged) {
    if (!agents) { tile("free", "none", "\u2013", texts.agents_unknown, unjudged); return; }
    var on = [say("agents_talking", {n: agents.talking})], off = [say("agents_paused", {n: agents.paused})];
    if (agents.ringing) { on.push(say("agents_ringing", {n: agents.ringing})); }
    if (agents.busy) { off.push(say("agents_busy", {n: agents.busy})); }
    tile("free", "none", String(agents.available), on.join(", "), unjudged || off.join(", "));
  }

  // -- queues -----------------------------------------------------------------------------------------

  /* name, what is shown, its level; in two columns those with a * are left out */
  var COLUMNS = [
    ["queue_waiting", function (q) { return String(q.waiting); }, "wait"],
    ["queue_longest", function (q) { return clock(q.longest_wait_seconds); }, "wait"],
    ["queue_talking*", function (q) { return String(q.talking); }, ""],
    ["queue_free", function (q) { return q.agents ? String(q.agents.available) : "\u2013"; }, ""],
    ["queue_service_level", function (q) {
      return q.service_level === null ? "\u2013" : servicePercent(q.service_level, state.targets.service_level);
    }, "service_level"],
    ["queue_missed", function (q) { return String(q.missed); }, "missed"],
    ["queue_callback*", function (q) { return String(q.missed_waiting); }, "callback"]
  ];
  var SIGNS = {watch: " !", act: " !!"};

  function cell(kind, className, text) {
    var node = document.createElement(kind);
    node.className = className;
    node.textContent = text;
    return node;
  }

  function table(rows, kind, quiet) {
    var node = document.createElement("table"), head = document.createElement("tr");
    var columns = COLUMNS.filter(function (c) { return kind !== "two" || c[0].indexOf("*") < 0; });
    head.appendChild(cell("th", "queue", texts.queue));
    columns.forEach(function (c) {
      var name = c[0].replace("*", "");
      head.appendChild(cell("th", name, texts[name]));
    });
    node.appendChild(head);
    rows.forEach(function (q) {
      var line = document.createElement("tr");
      line.setAttribute("data-queue", q.queue);
      var name = q.queue || texts.no_queue;
      line.appendChild(cell("td", name.length > LONG[kind] ? "queue long" : "queue", name));
      columns.forEach(function (c) {
        var level = c[2] && !quiet ? q.levels[c[2]] : "none", text = c[1](q);
        line.appendChild(cell("td", c[0].replace("*", "") + " " + level, text + (SIGNS[level] || "")));
      });
      node.appendChild(line);
    });
    return node;
  }

  function showQueues(age) {
    var place = byId("queues"), rows = state ? state.queues : [];
    if (age !== null && age >= BLANK_AFTER) { rows = []; }
    var pages = Math.ceil(rows.length / ROWS), page = pages > 1 ? Math.floor(now() / PAGE) % pages : 0;
    var each = Math.ceil(rows.length / (pages || 1)), quiet = age !== null || !state.open;
    var shown = rows.slice(page * each, (page + 1) * each);
    var half = rows.length > ROWS / 2 ? Math.ceil(shown.length / 2) : shown.length;
    var fresh = document.createElement("div");
    fresh.id = "queues";
    fresh.className = rows.length > ROWS / 2 ? "two" : rows.length > FEW ? "one" : "few";
    if (shown.length) { fresh.appendChild(table(shown.slice(0, half), fresh.className, quiet)); }
    if (half < shown.length) { fresh.appendChild(table(shown.slice(half), fresh.className, quiet)); }
    if (pages > 1) {
      setText(fresh.querySelector("th"), texts.queue + " " + say("page", {n: page + 1, total: pages}));
    }
    if (fresh.outerHTML !== place.outerHTML) { place.parentNode.replaceChild(fresh, place); }
  }

  // -- sources that are not heard ---------------------------------------------------------------------

  /* Each in its turn, by its name. */
  function unheardText() {
    var all = state.unheard, turn = Math.floor(now() / TURN) % all.length, one = all[turn];
    var seconds = one.unheard_seconds === null ? null : one.unheard_seconds + Math.max(now() - arrived, 0);
    var text = say(one.trouble, {n: seconds === null ? "" : span(seconds)}).replace(/\s+$/, "");
    if (one.source) { text = one.source + ": " + text; }
    return all.length < 2 ? text : text + " (" + say("page", {n: turn + 1, total: all.length}) + ")";
  }

  // -- every second -------------------------------------------------------------------------------

  /* Seconds since the figures were those of now; null while they are. */
  function staleness() {
    if (!state) { return now() - began; }
    var age = figuresAge();
    return state.stale || age > STALE_AFTER ? age : null;
  }

  function figuresAge() {
    if (state.age_seconds === null) { return now() - began + BLANK_AFTER; }
    return state.age_seconds + Math.max(now() - arrived, 0);
  }

  function updatedText(age) {
    if (!state) { return texts.connecting; }
    if (age === null) { return say("updated", {n: Math.floor(figuresAge())}); }
    if (!state.stale || now() - arrived > STALE_AFTER) { return say("no_stream", {n: span(now() - arrived)}); }
    if (state.stale === "projector" || state.stale === "spool") { return texts.no_projector; }
    return say("no_database", {n: state.age_seconds === null ? "" : span(age)});
  }

  function show() {
    var age = staleness(), isClosed = state && !state.open;
    setClass(body, age !== null ? "stale" : isClosed ? "closed" : "live");
    setText(byId("updated"), updatedText(age));
    setClass(byId("closed"), isClosed && age === null ? "chip" : "chip hidden");
    var quiet = age === null && state.silent;
    setClass(byId("silent"), quiet ? "chip" : "chip hidden");
    if (quiet) { setText(byId("silent"), unheardText()); }
    showTiles(age);
    showQueues(age);
  }

  /* The call centre's own time, also where the screen's clock or zone is wrong. */
  function showClock() {
    if (!state || !state.at) { return; }
    var since = (state.age_seconds || 0) + now() - arrived;
    var at = new Date((state.at_unix_seconds + since + state.utc_offset_seconds) * 1000);
    setText(byId("clock"), two(at.getUTCHours()) + ":" + two(at.getUTCMinutes()) + ":" + two(at.getUTCSeconds()));
  }

  function tick() {
    if (now() < ticked) {
      // The screen's clock was put back: what was measured by it means nothing.
      arrived = heard = polledAt = streamTriedAt = 0;
      began = now();
    }
    ticked = now();
    fit();
    show();
    showClock();
    keepConnected();
  }

  // -- where the state comes from -----------------------------------------------------------------------

  function take(text) {
    var told;
    try { told = JSON.parse(text); } catch (error) { return; }
    if (told.version !== version && now() - began > RELOAD) { window.location.reload(); return; }
    state = told;
    arrived = heard = now();
    show();
    showClock();
  }

  function openStream() {
    streamTriedAt = heard = now();
    stream = new window.EventSource("board/events" + window.location.search);
    stream.onmessage = function (event) { take(event.data); };
    stream.onerror = function () {
      // The browser itself comes again after a break, but not after a refusal.
      if (stream && stream.readyState === 2) { stream = null; }
    };
  }

  function poll() {
    var request = new XMLHttpRequest();
    polling = true;
    polledAt = now();
    request.open("GET", "board/state" + window.location.search, true);
    request.timeout = 10000;
    request.onreadystatechange = function () {
      if (request.readyState !== 4) { return; }
      polling = false;
      if (request.status === 200) { take(request.responseText); }
    };
    request.send();
  }

  function keepConnected() {
    var streams = typeof window.EventSource !== "undefined" && window.location.search.indexOf("poll=1") < 0;
    if (stream && now() - heard > SILENT_STREAM) { stream.close(); stream = null; streamTriedAt = 0; }
    if (!stream && streams && now() - streamTriedAt > RETRY_STREAM) { openStream(); }
    if (!stream && now() - polledAt >= (polling ? 30 : POLL)) { poll(); }
  }

  // -- the screen -----------------------------------------------------------------------------------

  function fit() {
    var w = window.innerWidth || root.clientWidth, h = window.innerHeight || root.clientHeight;
    var narrow = w < h, size = narrow ? w / 96 : Math.min(w / 192, h / 108);
    var name = theme() + (narrow ? " narrow" : "");
    setClass(root, name);
    root.style.fontSize = size + "px";
  }

  var chosen = root.className;
  function theme() {
    if (chosen === "light" || chosen === "dark") { return chosen; }
    return window.matchMedia && window.matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
  }

  window.onresize = fit;
  window.setInterval(tick, 1000);
  tick();
}());
