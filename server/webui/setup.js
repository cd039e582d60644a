// Takes the one-time secret from the fragment and out of the address bar and the history, then sends it with the form.
"use strict";
(() => {
  const secret = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  const form = document.getElementById("setup");
  const error = document.getElementById("error");
  const say = (text) => { error.textContent = text; error.hidden = text === ""; };
  if (secret === "") {
    say("This link is not complete. Copy the whole line from the terminal.");
    return;
  }
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    say("");
    try {
      const answer = await fetch(form.dataset.url, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ token: secret, email: form.email.value, password: form.password.value }),
      });
      if (answer.ok) {
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
