--- The one place that knows how the library is called. What stands behind it offers the functions
-- that bindings/lua/README.md lists, with the same results.
return require "tito.core"
