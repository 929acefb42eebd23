// Follows tasks: asks for their state until they are done, each time after a little longer, up to 5 s.
"use strict";

function outcome(task) {
  if (task.error) return `${task.error.type}: ${task.error.message}`;
  if (task.progress) return `${task.progress.current} of ${task.progress.total}`;
  return task.state === "SUCCESS" ? JSON.stringify(task.result) : "";
}

function show(element, task) {
  const done = task.date_done && new Date(task.date_done).toLocaleTimeString();
  const shown = { ...task, outcome: outcome(task), date_done: done };
  for (const field of element.querySelectorAll("[data-field]")) {
    const name = field.dataset.field;
    if (name === "progress") {
      field.hidden = !task.progress;
      field.value = task.progress ? task.progress.percent : 0;
    } else {
      field.textContent = shown[name] ?? "–";
      if (name === "state") field.dataset.state = task.state;
    }
  }
}

async function follow(url, update) {
  for (let wait = 500; ; wait = Math.min(wait * 1.3, 5000)) {
    try {
      const response = await fetch(url, { headers: { Accept: "application/json" } });
      if (response.ok && update(await response.json())) return;
    } catch {
      // the network or the app is away: ask again
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

for (const card of document.querySelectorAll("[data-follow]")) {
  follow(card.dataset.follow, (task) => {
    show(card, task);
    return task.ready;
  });
}

for (const table of document.querySelectorAll("[data-follow-all]")) {
  follow(table.dataset.followAll, ({ tasks }) => {
    for (const task of tasks) {
      const row = table.querySelector(`[data-id="${task.id}"]`);
      if (row) show(row, task);
    }
    return tasks.every((task) => task.ready);
  });
}

for (const time of document.querySelectorAll("time")) {
  const date = new Date(time.dateTime);
  if (!Number.isNaN(date.valueOf())) time.textContent = date.toLocaleTimeString();
}
