-- Builds the Lua 5.4 module out of a checkout: `luarocks make bindings/lua/tito-scm-1.rockspec` in its root. The module holds
-- the library itself (TITO_LUA_WHOLE), so that the rock stands alone; the Debian packages below must be there.
rockspec_format = "3.0"
package = "tito"
version = "scm-1"
source = { url = "git+file://." }
description = {
   summary = "A database layer over TiKV and embedded RocksDB",
   detailed = [[
Models with conditional and composite indexes, relationships, transactions, an outbox and a partitioned queue that keeps
order per key, in an embedded RocksDB or a TiKV cluster.]],
   license = "Apache-2.0",
}
supported_platforms = { "linux" }
dependencies = { "lua == 5.4" }
-- Debian: librocksdb-dev libsimdjson-dev libssl-dev uuid-dev libgrpc-dev libprotobuf-c-dev protobuf-c-compiler
external_dependencies = {
   ROCKSDB = { header = "rocksdb/c.h" },
   SIMDJSON = { header = "simdjson.h" },
   OPENSSL = { header = "openssl/evp.h" },
   GRPC = { header = "grpc/grpc.h" },
   PROTOBUF_C = { header = "protobuf-c/protobuf-c.h" },
   UUID = { header = "uuid/uuid.h" },
}
-- Environment variables: TITO_BUILD and TITO_CMAKE_FLAGS: the folder to build in, and options of CMake.
build = {
   type = "command",
   build_command = "cmake -S . -B ${TITO_BUILD:-build/rock} -DCMAKE_BUILD_TYPE=Release -DTITO_BENCH=OFF -DTITO_LUA_WHOLE=ON"
      .. " -DTITO_LUA_CDIR=lib -DTITO_LUA_DIR=lua $TITO_CMAKE_FLAGS && cmake --build ${TITO_BUILD:-build/rock} --target tito_lua",
   install_command = "cmake --install ${TITO_BUILD:-build/rock} --component lua-tito --prefix $(PREFIX)",
}
