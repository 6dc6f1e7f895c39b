--- `tito drop-index TABLE INDEX`

local function run(context)
  local name, index = context.words[1], context.words[2]
  context.check(context.open():drop_index(name, index))
  context.out.line("%s: index %s is dropped", name, index)
  if context.out.json then
    context.out.value { table = name, index = index, dropped = true }
  end
end

return {
  name = "drop-index",
  summary = "removes an index and its entries",
  text = {
    "Removes an index and all its entries; the records stay. An app that still declares it makes it again, to be "
      .. "filled by "
      .. "tito reindex. One that was interrupted goes on when it is called again.",
  },
  existing = true,
  operands = "TABLE INDEX", least = 2, most = 2, missing = "which index? Give a table and an index",
  examples = { "tito drop-index post by_author --db ./data" },
  codes = { { 10, "there is no such index" } },
  run = run,
}
