// Asks for the pool and the newest jobs once a second while the page is seen. Text only ever goes in as text. If the
// server wants a token, so does the page, which keeps it until its tab is closed.

const TOKEN = "gristmill-token";

async function get(path) {
  const token = sessionStorage.getItem(TOKEN);
  const answer = await fetch(path, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
  document.getElementById("ask").hidden = answer.status !== 401;
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail);
  return body;
}
const number = (value) => (value ?? 0).toLocaleString("en", { maximumFractionDigits: 1 });

function fill(id, rows) {
  document.getElementById(id).replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    for (const cell of cells) {
      const td = row.insertCell();
      td.append(cell instanceof Node ? cell : String(cell ?? ""));
    }
    return row;
  }));
}

function link(href, text) {
  return Object.assign(document.createElement("a"), { href, textContent: text });
}

// A link that is followed sends no token, so then the job is shown here.
function jobLink(job) {
  const to = link(job.links.self, job.name ?? job.id);
  to.addEventListener("click", async (event) => {
    if (!sessionStorage.getItem(TOKEN)) return;
    event.preventDefault();
    const shown = document.getElementById("job");
    shown.textContent = await get(job.links.self).then((job) => JSON.stringify(job, null, 1), (error) => error.message);
    shown.hidden = false;
  });
  return to;
}

function bar(ratio) {
  return Object.assign(document.createElement("progress"), { value: ratio, ariaLabel: `${Math.round(ratio * 100)} %` });
}

async function show() {
  const [pool, jobs] = await Promise.all([get("/v1/pool"), get("/v1/jobs?limit=25")]);
  document.getElementById("pool").textContent =
    `${pool.node}: ${pool.busy} of ${pool.slots} slots busy (${pool.slots_reason})`;
  fill("workers", pool.workers.map((worker) => [
    worker.name, worker.pid, worker.function, worker.state, worker.index,
    number(worker.tasks), number(worker.cpu_ms / 1e3), `${number(worker.max_rss_bytes / 2 ** 20)} MiB`,
  ]));
  fill("jobs", jobs.items.map((job) => [
    jobLink(job), job.function, job.state, bar(job.progress.ratio),
    `${number(job.progress.done)} of ${number(job.progress.total)}`, number(job.progress.failed),
    number(job.progress.rate_per_s), number(job.timings.wall_ms / 1e3),
  ]));
}

document.getElementById("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = document.getElementById("token");
  sessionStorage.setItem(TOKEN, token.value.trim());
  token.value = "";
  show().catch(told);
});

function told(error) {
  document.getElementById("pool").textContent = `no answer: ${error.message}`;
}

for (;;) {
  if (!document.hidden) {
    await show().catch(told);
  }
  await new Promise((wake) => setTimeout(wake, 1000));
}
