// What tests need beside cmocka: statuses with their sentence, a folder to write in.
#ifndef BRC_TESTS_CHECK_H
#define BRC_TESTS_CHECK_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/base.h"

// Assert success, or failure with this code and a sentence that contains `part`; prints the sentence otherwise.
#define check_ok(expr)                check_status_ok((expr), #expr, __FILE__, __LINE__)
#define check_fails(code, part, expr) check_status_fails((code), (part), (expr), #expr, __FILE__, __LINE__)
void check_status_ok(brc_status st, const char *expr, const char *file, int line);
void check_status_fails(brc_status code, const char *part, brc_status st, const char *expr, const char *file,
                        int line);

// An empty folder of this process, removed with its content at exit; then a file's path in it (static, four in turn).
const char *check_folder(void);
const char *check_path(const char *name);
#endif
