/* assert.h - assertions that stay on in every build type. For our own bugs only, never for input. */
#ifndef PR_BASE_ASSERT_H
#define PR_BASE_ASSERT_H

#ifdef NDEBUG
#error "NDEBUG must not be defined: assertions are part of the program"
#endif
#include <assert.h>

#define pr_assert(cond) assert(cond)
#define pr_unreachable() (assert(0 && "unreachable"), __builtin_unreachable())

#endif
