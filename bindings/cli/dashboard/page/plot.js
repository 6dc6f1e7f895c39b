// Small plots in SVG: lines over time. Nothing is drawn twice that did not change: an element is made once, then its paths are
// set anew.

const SVG = "http://www.w3.org/2000/svg"

function make(parent, name, attributes) {
  const element = document.createElementNS(SVG, name)
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value)
  if (parent) parent.append(element)
  return element
}

// The next number above n that is 1, 2 or 5 times a power of ten.
function nice(n) {
  if (!(n > 0)) return 1
  const power = 10 ** Math.floor(Math.log10(n))
  for (const step of [1, 2, 5, 10]) if (n <= step * power) return step * power
  return 10 * power
}

// A path through the points that have a value; a gap where one has none.
function path(points, x, y) {
  let text = "", down = false
  for (const [time, value] of points) {
    if (value == null) { down = false; continue }
    text += (down ? "L" : "M") + x(time).toFixed(1) + " " + y(value).toFixed(1)
    down = true
  }
  return text
}

function area(points, x, y, bottom) {
  const known = points.filter(point => point[1] != null)
  if (known.length < 2) return ""
  return path(known, x, y) + `L${x(known[known.length - 1][0]).toFixed(1)} ${bottom}L${x(known[0][0]).toFixed(1)} ${bottom}Z`
}

const LEFT = 44, RIGHT = 4, TOP = 8, BOTTOM = 18, HEIGHT = 130

// A plot with a caption. lines: [{ name }], text(value) says a value. update(points) with points of each line: [[time, value], …].
export function plot(title, lines, text) {
  const figure = document.createElement("figure")
  const caption = document.createElement("figcaption")
  const label = document.createElement("span"), now = document.createElement("b")
  label.textContent = title
  caption.append(label, now)
  const svg = make(null, "svg", { class: "plot", role: "img" })
  figure.append(caption, svg)
  const grids = [0, 1, 2].map(() => [make(svg, "line", { class: "grid" }), make(svg, "text", { class: "tick", "text-anchor": "end" })])
  const began = make(svg, "text", { class: "tick" }), ends = make(svg, "text", { class: "tick", "text-anchor": "end" })
  const shade = make(svg, "path", { class: "area" })
  const paths = lines.map((_, i) => make(svg, "path", { class: i ? "line second" : "line" }))
  const hair = make(svg, "line", { class: "hair", visibility: "hidden" })
  let data = lines.map(() => []), at = null

  function last(points) {
    for (let i = points.length - 1; i >= 0; i--) if (points[i][1] != null) return points[i][1]
    return null
  }

  function said(values) {
    return values.map((value, i) => (lines[i].name ? lines[i].name + " " : "") + (value == null ? "–" : text(value))).join(" · ")
  }

  function draw() {
    const width = Math.max(180, svg.clientWidth || 300), bottom = HEIGHT - BOTTOM
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`)
    const times = data[0].map(point => point[0])
    const to = times.length ? times[times.length - 1] : 0, from = Math.min(times.length ? times[0] : 0, to - 30)
    const top = nice(Math.max(0, ...data.flat().map(point => point[1] ?? 0)))
    const x = time => LEFT + (time - from) / (to - from || 1) * (width - LEFT - RIGHT)
    const y = value => bottom - value / top * (bottom - TOP)
    grids.forEach(([line, tick], i) => {
      const value = top * i / 2
      for (const [key, number] of [["x1", LEFT], ["x2", width - RIGHT], ["y1", y(value)], ["y2", y(value)]]) line.setAttribute(key, number)
      tick.setAttribute("x", LEFT - 6)
      tick.setAttribute("y", y(value) + 3)
      tick.textContent = text(value)
    })
    began.setAttribute("x", LEFT); began.setAttribute("y", HEIGHT - 4)
    ends.setAttribute("x", width - RIGHT); ends.setAttribute("y", HEIGHT - 4)
    began.textContent = to - from >= 120 ? `${Math.round((to - from) / 60)} min ago` : `${Math.round(to - from)} s ago`
    ends.textContent = "now"
    shade.setAttribute("d", area(data[0], x, y, bottom))
    paths.forEach((element, i) => element.setAttribute("d", path(data[i], x, y)))
    svg.setAttribute("aria-label", `${title}: now ${said(data.map(last))}; the scale ends at ${text(top)}`)
    let values = data.map(last)
    if (at != null && times.length) {
      const wanted = from + (at / svg.clientWidth * width - LEFT) / (width - LEFT - RIGHT) * (to - from)
      let nearest = 0
      times.forEach((time, i) => { if (Math.abs(time - wanted) < Math.abs(times[nearest] - wanted)) nearest = i })
      values = data.map(points => points[nearest] && points[nearest][1])
      for (const [key, number] of [["x1", x(times[nearest])], ["x2", x(times[nearest])], ["y1", TOP], ["y2", bottom]]) hair.setAttribute(key, number)
    }
    hair.setAttribute("visibility", at != null ? "visible" : "hidden")
    now.textContent = said(values)
  }

  svg.addEventListener("pointermove", event => { at = event.clientX - svg.getBoundingClientRect().left; draw() })
  svg.addEventListener("pointerleave", () => { at = null; draw() })
  new ResizeObserver(draw).observe(figure)
  return { element: figure, update(points) { data = points; draw() } }
}

// A line without axes for a row of a table.
export function spark() {
  const svg = make(null, "svg", { class: "spark", viewBox: "0 0 110 26", "aria-hidden": "true" })
  const shade = make(svg, "path", { class: "area" }), line = make(svg, "path", { class: "line" })
  return {
    element: svg,
    update(points) {
      const top = Math.max(1, ...points.map(point => point[1] ?? 0))
      const from = points.length ? points[0][0] : 0, to = points.length ? points[points.length - 1][0] : 1
      const x = time => 1 + (time - from) / (to - from || 1) * 108, y = value => 24 - value / top * 22
      shade.setAttribute("d", area(points, x, y, 25))
      line.setAttribute("d", path(points, x, y))
    },
  }
}
