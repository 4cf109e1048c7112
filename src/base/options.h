// Options as tables: one row makes a struct field's default, its bounds, the command-line option, the line of --help, the
// entry of config.json. A table is an X-macro list (see agent/agent.h) expanded into rows of brc_option.
#ifndef BRC_OPTIONS_H
#define BRC_OPTIONS_H
#include "base/base.h"
#include <cjson/cJSON.h>

typedef enum brc_option_type { BRC_OPT_INT, BRC_OPT_REAL, BRC_OPT_TEXT, BRC_OPT_FLAG } brc_option_type;
typedef struct brc_option {
  const char *name;  // "actor-width", given as --actor-width N; in JSON "actor_width"
  brc_option_type type;
  size_t offset;  // of the field: int64_t, double, char[BRC_TEXT], bool
  double lo, hi;
  const char *fallback;  // default, as text
  const char *choices;   // texts: "l2|l1", or NULL: anything
  const char *help;
} brc_option;
#define BRC_TEXT 1024

// A set of tables with the structs that they fill.
typedef struct brc_option_set {
  struct {
    const brc_option *rows;
    size_t count;
    void *target;
    const char *title;
  } tables[4];
  size_t count;
} brc_option_set;

void brc_options_default(const brc_option_set *s);
// Set one option from text. E_USAGE with the option's name, the value, what is allowed; unknown: with the nearest names.
brc_status brc_option_set_text(const brc_option_set *s, const char *name, const char *value);
// --name value, --name=value, --flag. Consumes argv; words without -- are collected into words[*count] (at most max).
// given (may be NULL): appends the names of the options seen, comma-separated, to a buffer of BRC_TEXT bytes.
brc_status brc_options_parse(const brc_option_set *s, int argc, char **argv, const char **words, size_t max,
                             size_t *count, char *given);
// The lines of --help on standard output; as troff (man macros) once brc_help_is_man is set.
void brc_options_help(const brc_option_set *s);
extern bool brc_help_is_man;
// A text for troff: nothing in it is taken as a request or an escape. Lines stay lines.
void brc_man_text(const char *text);
bool brc_option_given(const char *given, const char *name);
// {"actor_width": 256, ...} into an object; back from one. E_FORMAT names the key: unknown and not among `others` (NULL behind the
// last), there twice, of another type than the option, or outside its bounds.
void brc_options_to_json(const brc_option_set *s, cJSON *object);
brc_status brc_options_from_json(const brc_option_set *s, const cJSON *object, const char *const *others);
#endif
