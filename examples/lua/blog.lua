-- A blog: tags, posts with their tags hydrated, questions by tag and by author, page by page.
--
--     blog [--db TARGET]      TARGET: a directory, memory:, …; default: $TITO_DB, else memory:
local tito = require "tito"

local target = os.getenv("TITO_DB") or "memory:"
if arg[1] == "--db" and arg[2] then
  target = arg[2]
elseif arg[1] then
  print("usage: blog [--db TARGET]\nTARGET is a directory or memory:; the default is $TITO_DB, else memory:")
  os.exit(arg[1] == "--help" and 0 or 2)
end

local db = assert(tito.connect(target))

local Tag = db:model { table = "tag" }
local Post = db:model {
  table = "post",
  indexes = {
    {
      name = "by_author",
      fields = { { name = "author", type = "string" }, { name = "published_at", type = "number" } },
    },
    {
      name = "by_tag",
      fields = { { name = "tag_ids", type = "string" }, { name = "published_at", type = "number" } },
      condition = function(post) return post.status ~= "draft" end,
    },
  },
  relationships = { { source_field_name = "tag_ids", destination_field_name = "tags", model = "tag" } },
}

-- ---- writing

local tags = {}
for _, name in ipairs { "Technology", "Travel", "Rust", "Databases" } do
  tags[name] = assert(Tag:build { id = tito.uuid(), name = name }).id
  print(("Created tag: %s (ID: %s)"):format(name, tags[name]))
end

-- all posts in one transaction: every one is stored, or none
assert(db:transaction(function(tx)
  assert(Post:save({
    id = "post-1", title = "Introduction to TiKV", author = "Alice", published_at = 20230101,
    tag_ids = { tags.Technology, tags.Databases },
  }, tx))
  assert(Post:save({
    id = "post-2", title = "Best cities to visit in Europe", author = "Bob", published_at = 20230102,
    tag_ids = { tags.Travel },
  }, tx))
  assert(Post:save({
    id = "post-3", title = "Using Rust with TiKV", author = "Alice", published_at = 20230103,
    tag_ids = { tags.Technology, tags.Rust, tags.Databases },
  }, tx))
end))

-- ---- reading

local function show(post)
  local names = {}
  for i, tag in ipairs(post.tags) do
    names[i] = tag.name
  end
  return ("%s (by %s) [%s]"):format(post.title, post.author, table.concat(names, ", "))
end

for i, post in ipairs(assert(Post:scan()).items) do
  print(("%d. %s (by %s)"):format(i, post.title, post.author))
end

print("Post with tags:")
print("  " .. show(assert(Post:find_by_id("post-1", { "tags" }))))

-- the posts with one value in the first field of an index, two to a page
local function print_by(index, value)
  local cursor
  repeat
    local page = assert(Post:query_by_index(index):value(value):limit(2):cursor(cursor):relationship("tags"):execute())
    for _, post in ipairs(page.items) do
      print("  - " .. show(post))
    end
    cursor = page.cursor
  until not cursor
end

print("Technology posts:")
print_by("by_tag", tags.Technology)
print("Posts by Alice:")
print_by("by_author", "Alice")

assert(db:close())
