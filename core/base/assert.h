/* Assertions: ti_assert in debug and test builds, ti_require always. */
#ifndef TI_BASE_ASSERT_H
#define TI_BASE_ASSERT_H

/* Prints the place and the condition to stderr and aborts. */
_Noreturn void ti_assert_failed(const char *condition, const char *file, int line);

/* Always on: cheap, guards data. */
#define ti_require(condition)                                                                      \
    ((condition) ? (void)0 : ti_assert_failed(#condition, __FILE__, __LINE__))

#ifdef NDEBUG
/* Compiled and optimised away, so that what only an assertion uses still counts as used. */
#define ti_assert(condition) ((void)(0 && (condition)))
#else
#define ti_assert(condition) ti_require(condition)
#endif

#endif
