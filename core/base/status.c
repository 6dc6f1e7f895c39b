/* The tables behind status.h, both made from TI_STATUS_MAP so that they can not drift apart.
 *
 * INVARIANTS
 *  1. Numbers inside TI_STATUS_MAP differ: the switch below would not compile otherwise.
 *
 * Thread rule: pure functions, any thread. */
#include "base/status.h"

#include <assert.h>

#define TI_STATUS_IN_CLASS(number, NAME, text)                                                     \
    static_assert((number) >= 0 && (number) / 100 <= TI_CLASS_HANDLER, "a status outside the "     \
                                                                       "classes: " text);
TI_STATUS_MAP(TI_STATUS_IN_CLASS)
#undef TI_STATUS_IN_CLASS

ti_status_class ti_status_class_of(ti_status status)
{
    if (status < 0 || status / 100 > TI_CLASS_HANDLER)
        return TI_CLASS_BROKEN;
    return (ti_status_class)(status / 100);
}

const char *ti_status_name(ti_status status)
{
    switch (status) {
#define TI_STATUS_CASE(number, NAME, text)                                                         \
    case number:                                                                                   \
        return text;
        TI_STATUS_MAP(TI_STATUS_CASE)
#undef TI_STATUS_CASE
    default:
        return "unknown_status";
    }
}
