// The page: one stream of figures, drawn into sections. Everything from the server is set as text, never as markup.
import { spark } from "/plot.js"
import { $, bytes, call, count, el, moment, rate, row, rows, say, seconds } from "/parts.js"
import * as queue from "/queue.js"

const POINTS = 300
let past = { names: [], types: {} }, figures = null, session = null

// ---- Light and dark

const THEMES = ["system", "light", "dark"]
let theme = "system"
try { theme = localStorage.getItem("tito-theme") || "system" } catch { /* not kept */ }

function showTheme() {
  if (theme === "system") delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
  say($("theme"), `Theme: ${theme}`)
}

$("theme").onclick = () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]
  try { localStorage.setItem("tito-theme", theme) } catch { /* not kept */ }
  showTheme()
}
showTheme()

function live(text, kind) {
  say($("live"), text)
  $("live").className = `badge ${kind}`
}

// ---- Sections

function points(type) {
  return past.types[type] || []
}

function showSums() {
  const total = name => figures.types.reduce((sum, type) => sum + (type[name] || 0), 0)
  const lag = Math.max(0, ...figures.types.map(type => type.lag || 0)), failed = total("failed")
  const alive = figures.workers.filter(worker => worker.alive).length
  const sums = [["pending", count(total("pending")), ""], ["parked", count(total("parked")), ""], ["failed", count(failed), failed ? "bad" : ""],
    ["done a second", rate(total("rate")), ""], ["longest lag", seconds(lag), lag > 300 ? "warn" : ""], ["workers", count(alive), ""]]
  rows($("sums"), sums, sum => sum[0], sum => {
    const value = el("b"), name = el("span", { textContent: sum[0] })
    return [el("div", { className: "sum" }, value, name), now => { say(value, now[1]); value.className = now[2] }]
  })
}

function queueRow(first) {
  const [tr, cells] = row(["", "", "n", "n", "n", "n", "n", "n", "n", "write"])
  const name = el("button", { type: "button", className: "name", textContent: first.type })
  const paused = el("span", { className: "badge warn", textContent: "paused", hidden: true })
  const line = spark(), pause = el("button", { type: "button" })
  name.onclick = () => select(first.type)
  pause.onclick = () => queue.act({ action: pause.dataset.action, type: first.type })
  cells[0].append(name, " ", paused)
  cells[1].append(line.element)
  cells[9].append(pause)
  return [tr, type => {
    const index = past.names.indexOf("pending"), texts = [count(type.pending), count(type.parked), count(type.failed), seconds(type.lag),
      rate(type.rate), seconds(type.latency_p99), count(type.workers)]
    texts.forEach((text, i) => say(cells[i + 2], text))
    cells[4].classList.toggle("bad", type.failed > 0)
    cells[5].classList.toggle("warn", type.lag > 300)
    paused.hidden = !type.paused
    say(pause, type.paused ? "Resume" : "Pause")
    pause.dataset.action = type.paused ? "resume" : "pause"
    pause.ariaLabel = `${pause.textContent} ${type.type}`
    line.update(points(type.type).map(point => [point[0], point[index]]))
    tr.classList.toggle("chosen", queue.selected() === type.type)
    name.setAttribute("aria-pressed", String(queue.selected() === type.type))
  }]
}

function select(type) {
  queue.select(type, { names: past.names, points: points(type) })
  showQueues()
  if (type !== null) $("queue").scrollIntoView({ block: "nearest" })
}

function showQueues() {
  rows($("queues").tBodies[0], figures.types, type => type.type, queueRow)
  const chosen = queue.selected()
  const now = figures.types.find(type => type.type === chosen)
  if (chosen !== null && !now) queue.select(null)
  else if (now) {
    queue.draw({ names: past.names, points: points(chosen) })
    queue.refresh(now)
  }
}

function showWorkers() {
  const items = figures.workers.flatMap(worker => worker.types.map(type => ({ worker, ...type })))
  rows($("workers").tBodies[0], items, item => `${item.worker.id} ${item.type}`, () => {
    const [tr, cells] = row(["mono", "", "n", ""])
    return [tr, item => {
      cells[0].title = item.worker.id
      const texts = [item.worker.id.slice(0, 8) + (item.worker.alive ? "" : " (gone)"), item.type, count(item.count), item.partitions]
      texts.forEach((text, i) => say(cells[i], text))
    }]
  })
}

function showSchedules() {
  rows($("schedules").tBodies[0], figures.schedules, schedule => schedule.name, () => {
    const [tr, cells] = row(["", "", "", "n"])
    const cron = el("code")
    cells[2].append(cron)
    return [tr, item => {
      say(cells[0], item.name)
      say(cells[1], item.type)
      say(cron, `${item.cron} ${item.timezone || "UTC"}`)
      say(cells[3], item.next == null ? "–" : item.next <= figures.time ? "due" : `in ${seconds(item.next - figures.time)}`)
      cells[3].title = moment(item.next)
    }]
  })
}

const STATES = { readable: "", write_only: "warn", failed: "bad", absent: "quiet" }

function showTables() {
  rows($("tables").tBodies[0], figures.tables, table => table.table, () => {
    const [tr, cells] = row(["", "n", ""])
    return [tr, item => {
      say(cells[0], item.table + (item.dropping ? " (being dropped)" : ""))
      say(cells[1], item.records != null ? count(item.records) : item.counting != null ? `more than ${count(item.counting)}` : "…")
      cells[1].title = item.age != null ? `counted ${seconds(item.age)} ago` : ""
      const text = JSON.stringify(item.indexes)
      if (cells[2].dataset.text === text) return
      cells[2].dataset.text = text
      cells[2].replaceChildren(...item.indexes.flatMap(index => [el("code", { className: STATES[index.state] || "",
        textContent: index.name + (index.unique ? " (unique)" : "") + (index.state === "readable" ? "" : ` ${index.state}`) }), " "]))
    }]
  })
}

function flat(prefix, value) {
  if (value === null || typeof value !== "object") return [[prefix, value]]
  return Object.keys(value).sort().flatMap(name => flat(prefix ? `${prefix} · ${name}` : name, value[name]))
}

function showEngine() {
  const items = flat("", { ...figures.engine, executor: figures.executor }).map(([name, value]) => [name.replaceAll("_", " "),
    typeof value !== "number" ? String(value) : /bytes/.test(name) ? bytes(value) : count(value)])
  if (figures.disk) items.unshift(["disk, free", `${bytes(figures.disk.free)} of ${bytes(figures.disk.total)}`])
  items.unshift(["a sample takes", seconds(figures.cost)])
  rows($("engine"), items, item => item[0], item => {
    const value = el("dd"), group = el("div", { className: "fact" }, el("dt", { textContent: item[0] }), value)
    return [group, now => say(value, now[1])]
  })
}

function show() {
  const problem = figures.problem
  $("problem").hidden = !problem
  say($("problem"), problem ? `The store does not answer; the figures are those of ${moment(figures.time)}: ${problem}` : "")
  live(problem ? "no answer" : "live", problem ? "bad" : "good")
  showSums()
  showQueues()
  showWorkers()
  showSchedules()
  showTables()
  showEngine()
  document.body.dataset.time = figures.time
}

// ---- The stream

function remember(now) {
  const types = {}
  for (const type of now.types) {
    const list = past.types[type.type] || []
    if (!list.length || list[list.length - 1][0] < now.time)
      list.push(past.names.map(name => name === "time" ? now.time : type[name] ?? null))
    types[type.type] = list.slice(-POINTS)
  }
  past = { names: past.names, types }
}

async function begin() {
  session = await call("/api/hello")
  past = session.past
  if (!Object.keys(past.types).length) past.types = {}
  figures = session.figures
  queue.begin(session)
  document.body.classList.toggle("read-only", !session.writes)
  say($("mode"), session.writes ? "writes allowed" : "read-only")
  say($("target"), session.target)
  say($("version"), `tito ${session.version}`)
  document.title = `tito · ${session.target}`
  show()
}

async function connect() {
  try {
    await begin()
  } catch (error) {
    live(error.signedOut ? "signed out" : "not connected", "bad")
    $("problem").hidden = false
    say($("problem"), error.message)
    if (!error.signedOut) setTimeout(connect, 3000)
    return
  }
  const stream = new EventSource("/events")
  stream.onmessage = event => {
    figures = JSON.parse(event.data)
    remember(figures)
    show()
  }
  stream.onerror = () => {
    stream.close()
    live("not connected", "warn")
    setTimeout(connect, 2000) // another process may answer: its session is another
  }
}

connect()
