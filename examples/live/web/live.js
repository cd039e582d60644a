"use strict";
// Messages come and go over a WebSocket; who is here comes as server-sent events. Both say why they end.

const $ = (id) => document.getElementById(id);
const loggedOut = 4401;
let over = false; // logged out: nothing connects again
let wait = 500; // milliseconds until the next try

function show(text) {
  $("state").textContent = text;
}

function line(text) {
  const li = document.createElement("li");
  li.textContent = text; // never as HTML: it is what others typed
  $("chat").append(li);
}

function end(text) {
  over = true;
  show(text + " ");
  const a = document.createElement("a");
  a.href = "/login";
  a.textContent = "Log in";
  $("state").append(a);
  $("say").hidden = true;
}

// ended decides what follows the end of a connection.
async function ended(code, text, again) {
  if (over) return;
  if (code === loggedOut) return end(text || "you were logged out");
  show((text || "disconnected") + ", reconnecting …");
  await new Promise((done) => setTimeout(done, wait * (0.5 + Math.random())));
  wait = Math.min(wait * 2, 30000);
  try {
    const res = await fetch("/who", { cache: "no-store" });
    if (res.status === 401) return end("you were logged out");
    if (!res.ok) return ended(0, "unavailable", again); // could not find out: that is no log-out
  } catch {
    return ended(0, "no connection", again);
  }
  if (!over) again();
}

let socket;
function talk() {
  socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/socket");
  socket.onopen = () => {
    wait = 500;
    $("chat").replaceChildren();
    show("connected");
  };
  socket.onmessage = (e) => {
    const m = JSON.parse(e.data);
    if (m.kind === "say") line(m.from + ": " + m.text);
    if (m.kind === "note") line(m.text);
    if (m.kind === "clear") $("chat").replaceChildren();
  };
  socket.onclose = (e) => ended(e.code, e.reason, talk);
}

function watch() {
  const events = new EventSource("/events");
  events.addEventListener("room", (e) => {
    const m = JSON.parse(e.data);
    if (m.kind !== "here") return;
    $("here").replaceChildren(...m.here.map((user) => {
      const li = document.createElement("li");
      li.textContent = user;
      return li;
    }));
  });
  events.addEventListener("end", (e) => {
    events.close();
    const why = JSON.parse(e.data);
    ended(why.code, why.text, watch);
  });
  events.onerror = () => {
    events.close(); // or the browser connects again by itself, without asking whether there still is a session
    ended(0, "", watch);
  };
}

$("say").addEventListener("submit", (e) => {
  e.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) return;
  socket.send($("text").value);
  $("text").value = "";
});

talk();
watch();
