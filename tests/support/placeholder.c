/* Keeps the support library non-empty. */
typedef int pygc_test_support_is_not_empty;
