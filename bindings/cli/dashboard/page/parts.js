// What every part of the page uses: elements, texts for numbers and times, rows that stay when figures change, questions.

export const $ = id => document.getElementById(id)

// An element with text; children are elements.
export function el(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties || {})
  element.append(...children)
  return element
}

export function count(n) {
  return n == null ? "–" : Math.round(n).toLocaleString("en")
}

export function rate(n) {
  return n == null ? "–" : n >= 100 || n === 0 ? count(n) : n.toPrecision(2).replace(/\.0+$/, "")
}

export function seconds(s) {
  if (s == null) return "–"
  if (s === 0) return "0 s"
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`
  if (s < 1) return `${+(s * 1000).toPrecision(2)} ms`
  if (s < 120) return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`
  if (s < 7200) return `${Math.round(s / 60)} min`
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`
}

export function bytes(n) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (n < 1024) return `${n < 10 && unit !== "B" ? n.toFixed(1) : Math.round(n)} ${unit}`
    n /= 1024
  }
  return `${n.toFixed(1)} TiB`
}

export function moment(time) {
  return time == null ? "" : new Date(time * 1000).toISOString().replace("T", " ").replace(/\.\d+Z$/, "Z")
}

// Sets a text only when it is another: what is selected or read aloud stays.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text
}

// Makes body's rows those of items: a row of a key stays the same element. make(item) gives [row, update]; update(item).
const known = new WeakMap()
export function rows(body, items, key, make) {
  const old = known.get(body) || new Map(), fresh = new Map()
  let at = body.firstElementChild
  for (const item of items) {
    const name = key(item)
    const entry = old.get(name) || make(item)
    old.delete(name)
    fresh.set(name, entry)
    entry[1](item)
    if (entry[0] === at) at = at.nextElementSibling
    else body.insertBefore(entry[0], at)
  }
  for (const entry of old.values()) entry[0].remove()
  known.set(body, fresh)
  const none = body.closest("section").querySelector(".none")
  if (none) {
    none.hidden = items.length > 0
    body.closest(".scroll").hidden = items.length === 0
  }
}

// Cells of a row: a list of class names; returns the row and its cells.
export function row(classes) {
  const cells = classes.map(name => el("td", { className: name }))
  return [el("tr", null, ...cells), cells]
}

let told
export function toast(text) {
  say($("toast"), text)
  clearTimeout(told)
  told = setTimeout(() => say($("toast"), ""), 6000)
}

// Asks; fields: [{ name, label, type, value }]. What was filled in, or null.
export function ask(text, yes, fields = []) {
  const dialog = $("ask")
  say($("ask-text"), text)
  say($("ask-yes"), yes)
  $("ask-fields").replaceChildren(...fields.map(field => {
    const input = el("input", { type: field.type || "text", name: field.name, value: field.value || "" })
    if (field.type === "datetime-local") input.step = "1"
    return el("label", null, field.label, input)
  }))
  return new Promise(resolve => {
    dialog.returnValue = "no"
    dialog.onclose = () => resolve(dialog.returnValue !== "yes" ? null
      : Object.fromEntries([...$("ask-fields").querySelectorAll("input")].map(input => [input.name, input.value])))
    dialog.showModal()
    const first = $("ask-fields").querySelector("input") || $("ask-yes")
    first.focus()
  })
}

// Speaks to the server: what it answers, or an Error with its message.
export async function call(path, body, token) {
  const answer = await fetch(path, body === undefined ? { cache: "no-store" } : {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json", "X-Tito-Token": token },
  })
  const text = await answer.text()
  if (answer.status === 401) throw Object.assign(new Error("signed out: open the address that was printed at the start"), { signedOut: true })
  let value = null
  try { value = JSON.parse(text) } catch { /* a line of text */ }
  if (!answer.ok) throw new Error(value && value.error ? value.error.message : text.trim() || `status ${answer.status}`)
  return value
}
