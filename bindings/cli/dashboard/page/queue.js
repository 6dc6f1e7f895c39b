// One type of events: its plots, its events by state, its partitions, and what can be done with them.
import { plot } from "/plot.js"
import { $, ask, call, count, el, moment, rate, row, rows, say, seconds, toast } from "/parts.js"

const HEADS = {
  failed: ["Key", "Failed at", "Attempts", "Error"],
  parked: ["Key", "Not before", "Attempts", "Error"],
  pending: ["Key", "Due", "Attempts", "Id"],
  completed: ["Key", "Ended", "Attempts", "Id"],
  partitions: ["Partition", "Pending", "Parked", "Parked keys", "Oldest", "Checkpoint", "Worker"],
}
const NUMBERS = { Attempts: 1, Partition: 1, Pending: 1, Parked: 1, "Parked keys": 1, Oldest: 1, Checkpoint: 1 }

const plots = {
  depth: plot("Depth", [{ name: "pending" }, { name: "parked" }], count),
  lag: plot("Lag", [{}], seconds),
  rate: plot("Done a second", [{}], rate),
  latency: plot("Latency", [{ name: "50 %" }, { name: "99 %" }], seconds),
}
$("plots").append(...Object.values(plots).map(p => p.element))

let chosen = null, tab = "failed", page = null, shown = "", picked = new Set(), session = null, changed = () => {}

export function begin(hello, onChange) {
  session = hello
  changed = onChange
}

export function selected() {
  return chosen
}

export async function act(body) {
  try {
    const done = await call("/api/act", body, session.token)
    toast(`${body.action} of ${body.type}: ${count(done.count)}` + (done.gone ? `, ${done.gone} were gone` : "") + (done.more ? "; there are more" : ""))
    picked.clear()
    await load()
  } catch (error) {
    toast(error.message)
  }
}

// ---- Lists

function errorCell(cell, text) {
  const [first, ...rest] = (text || "").split("\n")
  cell.className = "error"
  if (!rest.length) return say(cell, first)
  cell.append(el("details", null, el("summary", { textContent: first }), el("pre", { textContent: text, tabIndex: 0 })))
}

function eventRow(event) {
  const [tr, cells] = row(["write", "", "when", "n", ""])
  const box = el("input", { type: "checkbox", ariaLabel: `choose the event ${event.id}` })
  box.onchange = () => { box.checked ? picked.add(event.id) : picked.delete(event.id); showActs() }
  cells[0].append(box)
  cells[1].append(el("code", { textContent: event.key }))
  if (event.payload !== undefined) cells[1].append(el("details", null, el("summary", { textContent: "payload" }), el("pre", { textContent: JSON.stringify(event.payload, null, 2), tabIndex: 0 })))
  say(cells[2], moment(tab === "parked" ? event.not_before : event.finished_at || event.timestamp))
  say(cells[3], count(event.attempts))
  if (tab === "failed" || tab === "parked") errorCell(cells[4], event.error)
  else cells[4].append(el("code", { textContent: event.id }))
  return [tr, () => { box.checked = picked.has(event.id) }]
}

function partitionRow() {
  const [tr, cells] = row(["n", "n", "n", "n", "n", "n", "mono"])
  return [tr, item => {
    const age = time => time == null ? "–" : seconds(Math.max(0, page.now - time))
    const texts = [String(item.partition), count(item.pending), count(item.parked), count(item.parked_keys), age(item.oldest),
      age(item.checkpoint), item.worker ? item.worker.slice(0, 8) + (item.alive ? "" : " (gone)") : "–"]
    cells[6].title = item.worker || ""
    texts.forEach((text, i) => say(cells[i], text))
  }]
}

function showHead() {
  const heads = HEADS[tab].map(name => el("th", { scope: "col", textContent: name, className: NUMBERS[name] ? "n" : "" }))
  if (tab !== "partitions") heads.unshift(el("th", { scope: "col", className: "write" }, el("span", { className: "away", textContent: "Choose" })))
  $("list").tHead.replaceChildren(el("tr", null, ...heads))
}

function button(text, onclick, name = "") {
  return el("button", { type: "button", textContent: text, onclick, className: name })
}

async function replay(state) {
  const filled = await ask(`Publish ${state} events of ${chosen} again, as new ones`, "Replay", [
    { name: "from", label: "Ended from (UTC; empty: from the beginning)", type: "datetime-local" },
    { name: "to", label: "Ended before (UTC; empty: until now)", type: "datetime-local" },
    { name: "into", label: "Into another type (empty: the same)" }])
  if (!filled) return
  const body = { action: "replay", type: chosen, state }
  for (const name of ["from", "to"]) if (filled[name]) body[name] = Date.parse(filled[name] + "Z") / 1000
  if (filled.into) body.into = filled.into
  await act(body)
}

function showActs() {
  const n = picked.size, parts = []
  const ids = () => [...picked]
  const few = (text, action) => {
    const b = button(n ? `${text} ${n}` : `${text} chosen`, action)
    b.disabled = n === 0
    return b
  }
  if (tab === "failed") {
    parts.push(few("Retry", () => act({ action: "retry", type: chosen, ids: ids() })))
    parts.push(button("Retry all", async () => { if (await ask(`Retry every failed event of ${chosen}?`, "Retry all")) await act({ action: "retry", type: chosen, all: true }) }))
  }
  if (tab === "failed" || tab === "pending")
    parts.push(few("Drop", async () => { if (await ask(`Delete ${n} of the ${tab} events of ${chosen}? This can not be undone.`, "Drop")) await act({ action: "drop", type: chosen, ids: ids() }) }))
  if (tab === "failed" || tab === "completed") parts.push(button("Replay …", () => replay(tab)))
  // Focus stays on the button that was pressed, when there is one of its place.
  const at = [...$("acts").children].indexOf(document.activeElement)
  $("acts").replaceChildren(...parts)
  if (at >= 0 && parts[at]) parts[at].focus()
}

function note() {
  const n = page.items.length
  if (tab === "partitions") return `${n} of ${page.partitions} partitions have something to tell` + (page.complete ? "" : "; there are more events than were counted")
  return n ? `${count(n)} shown` + (page.cursor ? "; there are more" : "") : `no ${tab} event`
}

function show() {
  const key = tab === "partitions" ? item => String(item.partition) : item => item.id
  rows($("list").tBodies[0], page.items, item => `${chosen} ${tab} ${key(item)}`, tab === "partitions" ? partitionRow : eventRow)
  say($("list-note"), note())
  $("more").hidden = !page.cursor
  showActs()
}

async function load(cursor) {
  const query = new URLSearchParams({ type: chosen })
  const wanted = shown
  if (tab !== "partitions") query.set("state", tab)
  if (cursor) query.set("cursor", cursor)
  try {
    const next = await call(`/api/${tab === "partitions" ? "partitions" : "events"}?${query}`)
    if (wanted !== shown) return
    page = cursor ? { items: [...page.items, ...next.items], cursor: next.cursor } : next
    show()
  } catch (error) {
    if (wanted === shown) say($("list-note"), error.message)
  }
}

$("more").onclick = () => load(page.cursor)

// ---- Tabs: arrows go from one to the next

const tabs = [...document.querySelectorAll("[data-tab]")]

function choose(name) {
  tab = name
  shown = `${chosen} ${tab}`
  picked.clear()
  page = { items: [] }
  for (const b of tabs) {
    b.ariaSelected = String(b.dataset.tab === tab)
    b.tabIndex = b.dataset.tab === tab ? 0 : -1
  }
  $("panel").setAttribute("aria-labelledby", `tab-${tab}`)
  showHead()
  show()
  say($("list-note"), "…")
  return load()
}

for (const b of tabs) {
  b.onclick = () => choose(b.dataset.tab)
  b.onkeydown = event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
    if (!step) return
    const next = tabs[(tabs.indexOf(b) + step + tabs.length) % tabs.length]
    next.focus()
    choose(next.dataset.tab)
  }
}

// ---- The type

export function select(type, past) {
  chosen = type
  $("queue").hidden = type === null
  if (type === null) return
  say($("queue-title"), type)
  choose("failed")
  draw(past)
}

export function draw(past) {
  const column = name => past.points.map(point => [point[0], point[past.names.indexOf(name)]])
  plots.depth.update([column("pending"), column("parked")])
  plots.lag.update([column("lag")])
  plots.rate.update([column("rate")])
  plots.latency.update([column("latency_p50"), column("latency_p99")])
}

// The figures have changed: lists that show other events than there are now are loaded again.
let before = {}
export function refresh(figures) {
  if (!figures) return
  const differs = before.type !== figures.type || ["failed", "parked", "pending"].some(name => before[name] !== figures[name]) || figures.rate > 0
  const only = tab === "failed" ? before.failed !== figures.failed : differs
  before = { ...figures }
  if ((only || tab === "partitions") && picked.size === 0 && page && page.items.length <= 50 && !$("list").contains(document.activeElement)) load()
}
