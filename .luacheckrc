-- Lua runs in Lua 5.4 and, what lies in lua/, in LuaJIT too.
std = "max"
max_line_length = 120
-- An unused argument documents an interface; a loop variable may be unused too.
unused_args = false
exclude_files = { "build" }
files["tests/lua"] = { std = "max+busted", max_line_length = 140 }
for _, folder in ipairs { "bindings/resty", "examples/resty" } do
  files[folder] = { std = "max+ngx_lua" }
end
files["tests/resty"] = { std = "max+ngx_lua+busted", max_line_length = 140 }
