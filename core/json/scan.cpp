/* The only C++ file: simdjson's first stage (UTF-8 check and structural offsets, at gigabytes per
 * second) and the standard library's exact conversion of doubles. The grammar is in parse.c.
 *
 * simdjson's first stage is used directly: its second one builds a tape without source offsets, and
 * offsets are what editing by splicing needs.
 *
 * INVARIANTS: see scan_int.h. Allocation is nothrow here and inside simdjson. */
#include "json/scan_int.h"

#include <charconv>
#include <memory>
#include <new>

#include <simdjson.h>

struct ti_json_scan {
    std::unique_ptr<simdjson::internal::dom_parser_implementation> impl;
};

namespace
{

/* simdjson's own depth is for its second stage, which is not used: the smallest will do. */
constexpr size_t unused_depth = 1;
constexpr size_t capacity_min = 4096;

ti_json_scan_result result_of(simdjson::error_code code) noexcept
{
    switch (code) {
    case simdjson::SUCCESS:
        return TI_JSON_SCAN_OK;
    case simdjson::MEMALLOC:
        return TI_JSON_SCAN_NO_MEMORY;
    case simdjson::UTF8_ERROR:
        return TI_JSON_SCAN_NOT_UTF8;
    case simdjson::UNCLOSED_STRING:
        return TI_JSON_SCAN_UNCLOSED;
    case simdjson::UNESCAPED_CHARS:
        return TI_JSON_SCAN_CONTROL;
    case simdjson::EMPTY:
        return TI_JSON_SCAN_EMPTY;
    default:
        return TI_JSON_SCAN_BROKEN;
    }
}

/* Grows by doubling, so that a run of growing documents does not allocate each time. */
simdjson::error_code ensure_capacity(ti_json_scan *scan, size_t len) noexcept
{
    if (scan->impl && scan->impl->capacity() >= len)
        return simdjson::SUCCESS;
    size_t capacity = scan->impl ? scan->impl->capacity() : capacity_min;
    while (capacity < len)
        capacity *= 2;
    if (scan->impl)
        return scan->impl->set_capacity(capacity);
    return simdjson::get_active_implementation()->create_dom_parser_implementation(
        capacity, unused_depth, scan->impl);
}

} // namespace

extern "C" ti_json_scan *ti_json_scan_new(void)
{
    return new (std::nothrow) ti_json_scan;
}

extern "C" void ti_json_scan_free(ti_json_scan *scan)
{
    delete scan;
}

extern "C" ti_json_scan_result ti_json_scan_run(ti_json_scan *scan, const char *text, size_t len,
                                                const uint32_t **offsets_out, size_t *count_out)
{
    *offsets_out = nullptr;
    *count_out = 0;
    simdjson::error_code code = ensure_capacity(scan, len);
    if (code != simdjson::SUCCESS) {
        scan->impl.reset(); /* its old buffer may be gone: begin anew next time */
        return result_of(code);
    }
    code = scan->impl->stage1(reinterpret_cast<const uint8_t *>(text), len,
                              simdjson::stage1_mode::regular);
    if (code != simdjson::SUCCESS)
        return result_of(code);
    *offsets_out = scan->impl->structural_indexes.get();
    *count_out = scan->impl->n_structural_indexes;
    return TI_JSON_SCAN_OK;
}

extern "C" ti_json_double_result ti_json_double_parse(const char *text, size_t len, double *out)
{
    double value = 0;
    const std::from_chars_result read = std::from_chars(text, text + len, value);
    if (read.ec == std::errc::result_out_of_range)
        return TI_JSON_DOUBLE_RANGE;
    if (read.ec != std::errc() || read.ptr != text + len)
        return TI_JSON_DOUBLE_BAD;
    *out = value;
    return TI_JSON_DOUBLE_OK;
}

extern "C" size_t ti_json_double_format(double value, char out[TI_JSON_DOUBLE_TEXT_MAX])
{
    const std::to_chars_result written = std::to_chars(out, out + TI_JSON_DOUBLE_TEXT_MAX, value);
    return written.ec == std::errc() ? static_cast<size_t>(written.ptr - out) : 0;
}
