--- A small blog service in OpenResty: a JSON API, a live feed of handled events, one page. See nginx.conf.
--
--     GET  /posts?tag=&limit=&cursor=   a page of posts, the newest first
--     GET  /posts/ID                    one post with its tags
--     POST /posts                       { title, body, author, tags = [name, …] }: makes it, with an event
--     GET  /feed                        server-sent events: one for each event that was handled
local tito = require "resty.tito"

local blog = {}

local db, Tag, Post
local LIMIT_MAX, FEED_MAX, LENGTH_MAX = 100, 1000, 100000

--- For init_by_lua: what there is. Nothing is opened.
function blog.declare(target)
  db = tito.new(target)
  db:queue { type = "post_created", partitions = 8, retention = 86400 }
  Tag = db:model { table = "tag" }
  Post = db:model {
    table = "post",
    indexes = {
      { name = "by_tag", fields = { { name = "tag_ids", type = "string" }, { name = "created", type = "number" } } },
      { name = "by_time", fields = { { name = "created", type = "number" } } },
    },
    relationships = { { source_field_name = "tag_ids", destination_field_name = "tags", model = "tag" } },
    partition_key = function(post) return post.author end,
    events = function(post) return { { name = "post_created", payload = { title = post.title } } } end,
  }
end

--- Handles an event: tells everybody who watches the feed, in whichever nginx worker.
local function announce(event)
  local feed = ngx.shared.feed
  local number = assert(feed:incr("last", 1, 0))
  local text = assert(tito.encode { id = event.entity_id, author = event.key, title = event.payload.title })
  assert(feed:set("item" .. number, text))
  feed:delete("item" .. number - FEED_MAX)
end

--- For init_worker_by_lua: opens the database and handles events in the background.
function blog.start()
  db:open()
  local worker = db:worker { concurrency = 8 }
  worker:on("post_created", announce)
  worker:run()
end

-- ---- Answers

local function answer(status, value)
  ngx.status = status
  ngx.header.content_type = "application/json"
  ngx.say((assert(tito.encode(value))))
end

local STATUSES = { already_exists = 409, invalid_argument = 400, limit_exceeded = 400, unavailable = 503, busy = 503,
  timeout = 503, closed = 503 }

local function refuse(err)
  answer(STATUSES[err.code] or 500, { error = err.code, message = err.message })
end

-- ---- The API

--- GET /posts
function blog.list()
  local arguments = ngx.req.get_uri_args()
  local limit = math.floor(tonumber(arguments.limit) or 10)
  local tag, cursor = arguments.tag, arguments.cursor
  local query
  if type(tag) == "string" and tag ~= "" then
    query = Post:query_by_index("by_tag"):value(tag)
  else
    query = Post:query_by_index("by_time")
  end
  query:limit(math.max(1, math.min(limit, LIMIT_MAX)))
  if type(cursor) == "string" and cursor ~= "" then
    query:cursor(cursor)
  end
  local page, err = query:execute_reverse()
  if not page then
    return refuse(err)
  end
  answer(200, { items = page.items, cursor = page.cursor })
end

--- GET /posts/ID
function blog.show(id)
  local post, err = Post:find_by_id(id, { "tags" })
  if err then
    return refuse(err)
  elseif not post then
    return answer(404, { error = "not_found", message = "there is no such post" })
  end
  answer(200, post)
end

local function is_text(value)
  return type(value) == "string" and value ~= "" and #value <= LENGTH_MAX
end

--- What was sent as a post; or nil and what is wrong with it.
local function read_post()
  ngx.req.read_body()
  local given = tito.decode(ngx.req.get_body_data() or "")
  if type(given) ~= "table" then
    return nil, "a JSON object is expected"
  end
  if not (is_text(given.title) and is_text(given.author) and is_text(given.body)) then
    return nil, "title, author and body are texts that are not empty"
  end
  local tags = tito.array()
  for i, name in ipairs(type(given.tags) == "table" and given.tags or {}) do
    if type(name) ~= "string" or not name:find("^[%w_-]+$") or i > 10 then
      return nil, "tags are at most ten words of letters, digits, _ and -"
    end
    tags[i] = name
  end
  return { id = tito.uuid(), title = given.title, author = given.author, body = given.body, tag_ids = tags,
    created = tito.now() }
end

--- POST /posts
function blog.create()
  local post, wrong = read_post()
  if not post then
    return answer(400, { error = "invalid_argument", message = wrong })
  end
  local made, err = db:transaction(function(tx)
    for _, name in ipairs(post.tag_ids) do
      if not Tag:find_by_id(name, nil, tx) then
        assert(Tag:save({ id = name, name = name }, tx))
      end
    end
    return Post:build_with_options(post, tito.with_events(tito.INSERT), tx)
  end)
  if not made then
    return refuse(err)
  end
  ngx.header.location = "/posts/" .. made.id
  answer(201, made)
end

--- GET /feed: what was handled since Last-Event-ID, then each as it comes.
function blog.feed()
  local feed = ngx.shared.feed
  local sent = tonumber(ngx.var.http_last_event_id) or feed:get("last") or 0
  ngx.header.content_type = "text/event-stream"
  ngx.header.cache_control = "no-cache"
  ngx.say(": the feed begins\n")
  ngx.flush(true)
  while not ngx.worker.exiting() do
    local last = feed:get("last") or 0
    sent = math.max(sent, last - FEED_MAX)
    while sent < last do
      sent = sent + 1
      local item = feed:get("item" .. sent)
      if item then
        ngx.say("id: ", sent, "\ndata: ", item, "\n")
      end
    end
    if not ngx.flush(true) then
      return
    end
    ngx.sleep(0.1)
  end
end

return blog
