-- The example `packages` on a small list of packages.
local support = require "support"

local ROOT = debug.getinfo(1, "S").source:match("^@(.*)tests/lua/") or ""

local LIST = [[
Package: alpha
Version: 1.0
Installed-Size: 100
Maintainer: Ann Author <ann@example.org>
Depends: beta (>= 1) | gamma, delta:any, missing
Tag: role::program, interface::commandline,
 use::editing
Section: utils
Description: the first one
Size: 1000

Package: beta
Version: 2.0
Maintainer: Bob Builder <bob@example.org>
Section: utils
Size: 5000
Description: the second one

Package: gamma
Version: 2.0
Maintainer: Ann Author <ann@example.org>
Depends: beta
Section: libs
Size: 300
Description: the third one

Package: delta
Version: 2.0
Maintainer: Ann Author <ann@example.org>
Pre-Depends: beta
Section: utils
Size: 70

Package: beta
Version: 1.9
Maintainer: Bob Builder <bob@example.org>
Section: utils
Size: 1
]]

describe("the example packages", function()
  after_each(support.clean)

  local function run(...)
    local parts = { ("LUA_PATH='%sexamples/lua/?.lua;'\"$LUA_PATH\" %s '%sexamples/lua/packages.lua'"):format(ROOT, support.lua, ROOT) }
    for _, argument in ipairs { ... } do
      parts[#parts + 1] = ("'%s'"):format(argument)
    end
    local pipe = io.popen(table.concat(parts, " ") .. " 2>&1 </dev/null", "r")
    local output = pipe:read("a")
    local _, _, code = pipe:close()
    return output, code
  end

  it("imports, counts and answers", function()
    local file, db = support.write_file(support.folder(), LIST), support.folder()
    local output, code = run("--db", db, "--file", file, "--ask", "largest 2 utils", "--ask", "maintainer Ann", "--ask",
      "package beta", "--ask", "page utils", "--ask", "tag use::editing", "--ask", "sections", "--ask", "nonsense")
    assert.equal(0, code, output)
    for _, pattern in ipairs {
      "Importing: %d packages", "Counting: 4 events",
      "1%. beta .-2%. alpha", "Ann Author <ann@example.org>\n  alpha 1%.0: depends on beta, gamma, delta",
      "beta 2%.0 %(utils", "3 packages depend on it", "maintained by Bob Builder", "this was the last page",
      "1 packages have the tag use::editing", "utils +3 packages", "libs +1 packages", "I do not know",
    } do
      assert.truthy(output:find(pattern), pattern .. "\n" .. output)
    end
    output, code = run("--db", db, "--file", file, "--ask", "sections")
    assert.equal(0, code, output)
    assert.truthy(output:find("Nothing was new"), output)
    assert.truthy(output:find("utils +3 packages"), output)
    output, code = run("--db", db, "--no-import", "--ask", "package alpha")
    assert.equal(0, code, output)
    assert.truthy(output:find("depends on beta, gamma, delta"), output)
    output, code = run("--db", db, "--no-import")
    assert.equal(0, code, output)
    assert.truthy(output:find("help lists the questions"), output)
  end)

  it("explains itself", function()
    local output, code = run("--help")
    assert.equal(0, code)
    assert.truthy(output:find("usage"))
    output, code = run("--colour")
    assert.equal(2, code)
    assert.truthy(output:find("usage"))
  end)
end)
