// Takes the one-time secret from the fragment and out of the address bar and the history, then sends it with the form.
"use strict";
(() => {
  const form = document.getElementById("setup");
  const error = document.getElementById("error");
  const button = form.querySelector("button");
  let secret = "";
  const say = (text) => { error.textContent = text; error.hidden = text === ""; };
  const take = () => {
    if (location.hash.length > 1) {
      secret = location.hash.slice(1);
      history.replaceState(null, "", location.pathname);
    }
    form.hidden = secret === "";
    say(secret === "" ? "This link is not complete. Copy the whole line from the terminal." : "");
    if (secret !== "") form.email.focus();
  };
  take();
  window.addEventListener("hashchange", take); // the whole link, pasted over this page, loads nothing anew
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    say("");
    try {
      const answer = await fetch(form.dataset.url, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ token: secret, email: form.email.value, password: form.password.value }),
      });
      if (answer.ok) {
        secret = "";
        form.reset(); // whoever goes back finds no password
        form.hidden = true;
        const done = document.getElementById("done");
        done.hidden = false;
        done.focus();
        return;
      }
      const problem = await answer.json();
      const first = (problem.errors || [])[0];
      say(first ? first.message.charAt(0).toUpperCase() + first.message.slice(1) + "." : problem.detail || problem.title);
    } catch {
      say("The server did not answer. Please try again.");
    }
    button.disabled = false;
  });
})();
