#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

// Sanitizers end a program that asks for more memory than there can be; tests ask on purpose, to see the error that
// follows. These are the sanitizers' names for what they ask a program about, and nobody calls them in other builds.
extern "C" const char* __asan_default_options();
extern "C" const char* __tsan_default_options();
const char* __asan_default_options() { return "allocator_may_return_null=1"; }
const char* __tsan_default_options() { return "allocator_may_return_null=1"; }
