---@meta tito
-- Types for the Lua language server (LuaLS). Never run.
-- luacheck: ignore 241 631

---@alias tito.null userdata
---@alias tito.code "not_found"|"invalid_argument"|"invalid_state"|"already_exists"|"unique_violation"|"version_mismatch"|"limit_exceeded"|"schema_mismatch"|"unsupported"|"forked"|"closed"|"cancelled"|"conflict"|"deadlock"|"unavailable"|"timeout"|"busy"|"outcome_unknown"|"corrupt"|"io"|"out_of_memory"|"internal"|"handler_failed"

---@class tito.Error
---@field code tito.code
---@field message string
---@field retryable boolean
---@field outcome_unknown boolean?
---@field table string?
---@field index string?
---@field cause any
---@field traceback string?

---@class tito
---@field version string
---@field null tito.null
---@field INSERT "INSERT"
---@field UPDATE "UPDATE"
---@field DELETE "DELETE"
---@field db tito.Database? in the script of a script worker
local tito = {}

---@class tito.TlsOptions PEM text, or the path of a file with it, which is looked at again
---@field ca string the authority of the servers' certificates
---@field cert string? the client's own certificate, with key
---@field key string?
---@field server_name string? to expect in the certificates instead of the host

---@class tito.ConnectOptions
---@field namespace string?
---@field partitions integer?
---@field timeout number? seconds
---@field txn_age number? seconds
---@field durability "sync"|"buffered"|nil
---@field open_wait number? seconds
---@field block_cache_size integer?
---@field write_buffer_size integer?
---@field threads integer?
---@field log_level "error"|"warn"|"info"|"debug"|nil
---@field log (fun(level: "error"|"warn"|"info"|"debug", line: string))? gets log lines instead of stderr, in this state's thread
---@field tls tito.TlsOptions? TLS to TiKV; its fields may also stand here
---@field ca string?
---@field cert string?
---@field key string?
---@field server_name string?

---@param target string|string[]
---@param options tito.ConnectOptions?
---@return tito.Database?, tito.Error?
function tito.connect(target, options) end

---@param dir string
---@param options { progress: (fun(done: integer, total: integer): boolean?)? }?
---@return tito.BackupSummary?, tito.Error?
function tito.verify_backup(dir, options) end

---@param dir string
---@param target string
---@param options { progress: (fun(done: integer, total: integer): boolean?)? }?
---@return tito.BackupSummary?, tito.Error?
function tito.restore(dir, target, options) end

---@param endpoints string|string[]
---@param n integer
---@return tito.Database?, tito.Error?
function tito.connect_with_partitions(endpoints, n) end

---@param queue tito.Queue
---@param handler tito.Handler
---@param options tito.WorkerOptions?
---@return boolean?, tito.Error?
function tito.run_worker(queue, handler, options) end

---@return string
function tito.uuid() end

---@return number seconds
function tito.now() end

---@param operation string
---@return tito.WriteOptions
function tito.with_events(operation) end

---@generic T
---@param t T[]?
---@return T[]
function tito.array(t) end

---@class tito.WriteOptions
---@field events string?
---@field if_version integer?
---@field version boolean?

---@class tito.IndexField
---@field name string
---@field type "string"|"number"|"boolean"
---@field order "asc"|"desc"|nil

---@class tito.Index
---@field name string
---@field fields tito.IndexField[]
---@field version integer?
---@field condition (fun(document: table): any)|boolean|nil
---@field where table?
---@field sparse boolean?
---@field covering boolean?

---@class tito.Relationship
---@field source_field_name string
---@field destination_field_name string
---@field model string|tito.Model

---@class tito.ModelEvent
---@field name string
---@field timestamp number?
---@field payload any
---@field key string?

---@class tito.Spec
---@field table string
---@field indexes tito.Index[]?
---@field unique_indexes tito.Index[]?
---@field relationships tito.Relationship[]?
---@field fields table<string, string|table>?
---@field timestamps boolean?
---@field events (fun(document: table): tito.ModelEvent[]?)?
---@field partition_key string|(fun(document: table): string?)|nil
---@field references (fun(document: table): string[]?)?

---@class tito.TransactionOptions
---@field age number?
---@field timeout number?
---@field attempts integer?
---@field read_only boolean?
---@field causal boolean?

---@class tito.Database
local Database = {}

---@param spec tito.Spec
---@return tito.Model
function Database:model(spec) end

---@param fn fun(tx: tito.Transaction): ...
---@param options tito.TransactionOptions?
---@return any, ...
function Database:transaction(fn, options) end

---@param options tito.TransactionOptions?
---@return tito.Transaction?, tito.Error?
function Database:begin(options) end

---@return number?, tito.Error?
function Database:now() end

---@class tito.QueueOptions
---@field type string
---@field partitions integer?
---@field retention number?
---@field ordering "key"|"partition"|"none"|nil

---@param options tito.QueueOptions
---@return tito.Queue
function Database:queue(options) end

---@class tito.Schedule
---@field name string
---@field type string
---@field key string
---@field cron string
---@field timezone string?
---@field payload any
---@field catch_up "one"|"all"|"none"|nil
---@field next number?

---@param spec tito.Schedule
---@return boolean?, tito.Error?
function Database:schedule(spec) end

---@param name string
---@return boolean?, tito.Error?
function Database:unschedule(name) end

---@return tito.Schedule[]?, tito.Error?
function Database:schedules() end

---@return { type: string, partitions: integer, paused: boolean }[]?, tito.Error?
function Database:queues() end

---@return string?, tito.Error?
function Database:metrics() end

---@class tito.Retry
---@field max_retries integer?
---@field base number?
---@field factor number?
---@field cap number?
---@field jitter number?

---@class tito.HandlerOptions
---@field retry tito.Retry?
---@field handler_timeout number?
---@field concurrency integer?
---@field key_concurrency integer?
---@field rate number?
---@field batch integer? the handler is a tito.BatchHandler of up to that many events (1 to 1000)

---@class tito.WorkerOptions
---@field concurrency integer?
---@field batch integer? of the types that say nothing else
---@field retry tito.Retry?
---@field handler_timeout number?
---@field leased boolean?
---@field lease number?
---@field gc { retention: number }?
---@field partition_range integer[]?
---@field is_leader (fun(): boolean)?
---@field drain_timeout number?
---@field signals boolean?
---@field script string?
---@field threads integer?

---@param options tito.WorkerOptions?
---@return tito.Worker
function Database:worker(options) end

---@param table_name string
---@param progress (fun(info: table): boolean?)? # called after each step; false: it stops there, the summary has stopped = true
---@return table?, tito.Error?
function Database:reindex(table_name, progress) end

---@param table_name string
---@param options { repair: boolean?, count: boolean?, cursor: string?, progress: (fun(info: table): boolean?)? }? # progress as of reindex; a summary with stopped has a cursor: another check goes on there
---@return table?, tito.Error?
function Database:check(table_name, options) end

---@param table_name string
---@param index string
---@return boolean?, tito.Error?
function Database:drop_index(table_name, index) end

---@param table_name string
---@return boolean?, tito.Error?
function Database:drop_table(table_name) end

---@class tito.BackupSummary
---@field time number the database's, when it began: what was committed before is in it
---@field files integer
---@field size integer bytes
---@field shared integer? bytes of files that are hard links

---@param dir string
---@param options { base: string?, progress: (fun(done: integer, total: integer): boolean?)? }?
---@return tito.BackupSummary?, tito.Error?
function Database:backup(dir, options) end

---@return table?, tito.Error?
function Database:stats() end

---@return table[]?, tito.Error?
function Database:schema() end

---@param options { retention: number }
---@return boolean?, tito.Error?
function Database:gc(options) end

---@class tito.ClusterOptions
---@field regions boolean? a list of the regions, too
---@field locks number? seconds: the locks of transactions that old
---@field resolve boolean? clear those of them whose owner is gone

---@param options tito.ClusterOptions?
---@return table?, tito.Error? # members, stores, regions, gc, locks, rounds
function Database:cluster(options) end

---@return boolean?, tito.Error?
function Database:close() end

---@class tito.Model
---@field table string
local Model = {}

---@param document table
---@param tx tito.Transaction?
---@return table?, tito.Error?
function Model:build(document, tx) end

---@param document table
---@param options tito.WriteOptions?
---@param tx tito.Transaction?
---@return table?, tito.Error|integer|nil
function Model:build_with_options(document, options, tx) end

---@param document table
---@param tx tito.Transaction?
---@return table?, tito.Error?
function Model:update(document, tx) end

---@param document table
---@param options tito.WriteOptions?
---@param tx tito.Transaction?
---@return table?, tito.Error|integer|nil
function Model:update_with_options(document, options, tx) end

---@param document table
---@param tx tito.Transaction?
---@return table?, tito.Error?
function Model:save(document, tx) end

---@param document table
---@param options tito.WriteOptions?
---@param tx tito.Transaction?
---@return table?, tito.Error|integer|nil
function Model:save_with_options(document, options, tx) end

---@param id string
---@param changes table
---@param tx tito.Transaction?
---@return table?, tito.Error?
function Model:patch(id, changes, tx) end

---@param id string
---@param changes table
---@param options tito.WriteOptions?
---@param tx tito.Transaction?
---@return table?, tito.Error|integer|nil
function Model:patch_with_options(id, changes, options, tx) end

---@param id string
---@param tx tito.Transaction?
---@return boolean?, tito.Error?
function Model:delete_by_id(id, tx) end

---@param id string
---@param options tito.WriteOptions?
---@param tx tito.Transaction?
---@return boolean?, tito.Error?
function Model:delete_by_id_with_options(id, options, tx) end

---@class tito.FindOptions
---@field relationships string[]?
---@field lock true|"nowait"|nil
---@field wait number?
---@field version boolean?

---@param id string
---@param relationships string[]|tito.FindOptions|nil
---@param tx tito.Transaction?
---@return table?, tito.Error|integer|nil
function Model:find_by_id(id, relationships, tx) end

---@param ids string[]
---@param relationships string[]?
---@param tx tito.Transaction?
---@return table[]?, tito.Error?
function Model:find_many(ids, relationships, tx) end

---@param name string
---@return tito.Query
function Model:query_by_index(name) end

---@class tito.ScanOptions
---@field limit integer?
---@field cursor string?
---@field reverse boolean?
---@field keys_only boolean?
---@field relationships string[]?

---@param options tito.ScanOptions?
---@param tx tito.Transaction?
---@return tito.Page?, tito.Error?
function Model:scan(options, tx) end

---@param id string
---@param tx tito.Transaction
---@return boolean?, tito.Error?
function Model:assert_current(id, tx) end

---@class tito.Page
---@field items table[]
---@field cursor string?

---@class tito.Query
local Query = {}

---@param v string|number|boolean|tito.null
---@return tito.Query
function Query:value(v) end

---@param v string|number|boolean
---@return tito.Query
function Query:gt(v) end

---@param v string|number|boolean
---@return tito.Query
function Query:gte(v) end

---@param v string|number|boolean
---@return tito.Query
function Query:lt(v) end

---@param v string|number|boolean
---@return tito.Query
function Query:lte(v) end

---@param a string|number|boolean
---@param b string|number|boolean
---@return tito.Query
function Query:between(a, b) end

---@param prefix string
---@return tito.Query
function Query:starts_with(prefix) end

---@param n integer
---@return tito.Query
function Query:limit(n) end

---@param c string?
---@return tito.Query
function Query:cursor(c) end

---@param path string
---@return tito.Query
function Query:relationship(path) end

---@return tito.Query
function Query:reverse() end

---@return tito.Query
function Query:keys_only() end

---@param tx tito.Transaction?
---@return tito.Page?, tito.Error?
function Query:execute(tx) end

---@param tx tito.Transaction?
---@return tito.Page?, tito.Error?
function Query:execute_reverse(tx) end

---@param tx tito.Transaction
---@return tito.Page?, tito.Error?
function Query:execute_tx(tx) end

---@param tx tito.Transaction?
---@return table?, tito.Error?
function Query:first(tx) end

---@param tx tito.Transaction?
---@return integer?, tito.Error?
function Query:count(tx) end

---@param tx tito.Transaction?
---@return fun(): table?
function Query:each(tx) end

---@return table?, tito.Error?
function Query:explain() end

---@class tito.Transaction
---@field start_version integer
local Transaction = {}

---@return integer?, tito.Error?
function Transaction:commit() end

---@return boolean?, tito.Error?
function Transaction:rollback() end

---@class tito.Queue
---@field type string
---@field db tito.Database
local Queue = {}

---@class tito.Publication
---@field key string
---@field payload any
---@field timestamp number?
---@field delay number?
---@field unique string?
---@field on_duplicate "refuse"|"return"|nil

---@param event tito.Publication
---@param tx tito.Transaction?
---@return string|boolean|nil, tito.Error?
function Queue:publish(event, tx) end

---@class tito.HistoryFilter
---@field state "pending"|"parked"|"completed"|"failed"|nil
---@field key string?
---@field owner string?
---@field into string?
---@field from number?
---@field to number?
---@field limit integer?
---@field cursor string?

---@param filter tito.HistoryFilter?
---@return tito.Page?, tito.Error?
function Queue:history(filter) end

---@param filter tito.HistoryFilter?
---@param options { progress: (fun(done: integer): boolean?)? }?
---@return integer?, tito.Error?
function Queue:replay(filter, options) end

---@param filter tito.HistoryFilter
---@return integer?, tito.Error?
function Queue:purge(filter) end

---@return boolean?, tito.Error?
function Queue:pause() end

---@return boolean?, tito.Error?
function Queue:resume() end

--- Gives the type another partition count while it is in use: how many events were moved.
---@param partitions integer
---@param options { progress: (fun(done: integer, total: integer): boolean?)? }?
---@return integer?, tito.Error?
function Queue:repartition(partitions, options) end

---@return table?, tito.Error?
function Queue:stats() end

---@class tito.Partition
---@field partition integer
---@field pending integer
---@field parked integer
---@field parked_keys integer
---@field oldest number? # when its first pending event is or was due
---@field checkpoint number? # before it nothing is pending
---@field worker string? # who has its lease
---@field alive boolean? # whether that worker lives

--- How each partition is, seen from outside of the workers; those of which nothing is known are left out.
---@return { partitions: integer, complete: boolean, now: number, items: tito.Partition[] }?, tito.Error?
function Queue:partitions() end

---@param id string
---@return boolean?, tito.Error?
function Queue:retry(id) end

---@param id string
---@return boolean?, tito.Error?
function Queue:drop(id) end

---@class tito.Event
---@field id string
---@field type string
---@field key string
---@field partition integer
---@field sequence string
---@field timestamp number
---@field action string?
---@field entity string?
---@field entity_id string?
---@field references string[]?
---@field payload any
---@field attempts integer
---@field last_error string?
local Event = {}

---@param timestamp number
---@return true
function Event:reschedule(timestamp) end

---@param payload any
---@return true
function Event:advance(payload) end

--- When the handler succeeds, the event has failed all the same.
---@param why any
---@return true
function Event:fail(why) end

---@alias tito.Handler fun(event: tito.Event, tx: tito.Transaction): ...
---@alias tito.BatchHandler fun(events: tito.Event[], tx: tito.Transaction): ...

---@class tito.Worker
local Worker = {}

---@param type_name string
---@param handler tito.Handler|tito.BatchHandler
---@param options tito.HandlerOptions?
---@return tito.Worker
function Worker:on(type_name, handler, options) end

---@return boolean?, tito.Error?
function Worker:run() end

---@param ms number?
---@return boolean?, tito.Error?
function Worker:step(ms) end

---@return integer?, tito.Error?
function Worker:fd() end

---@param drain_timeout number?
function Worker:stop(drain_timeout) end

return tito
